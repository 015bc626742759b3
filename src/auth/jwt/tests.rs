//! Which JWTs are accepted, row by row.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;

use super::*;
use crate::auth::{Names, Role};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: i64 = 1_800_000_000;
/// A public key whose private key is lost, and what it has signed:
/// `{"sub":"rs","chroma_role":"reader","exp":4102444800}`.
const MODULUS: &str = "sxQ1XyOh72f-QZHvt0C-0h1j-Ualo-2av5NxCd1h7UW4FegCN4TvCwymTxrVpP8K3pnqMVbO_qnga15FEALD_2-E3FmHx1kAn5R15u3bOy8r9rCqp5gezZDNb2zdiq7tQwrcgqbebypPpUixfbXwwhVXMmgNeTCc3RrzHWwivD31us1DqwxjeDImi0jKA7SrKw4JmA2AoWXk2QJTf2cVYdwK8LZtkLvCDkZ43IUxpFKvJYxjWCmCwPtrTxpe60Tb_Z2kQZC1hKpmnzs1XnoM4stbwZSOvYhKdw-hTXvIa7nKnEghNHyYjpjCYdTQM-9G4im1GOvNXNvcLCzXVNP3Mw";
const SIGNED: &str = "eyJhbGciOiAiUlMyNTYiLCAia2lkIjogInJzYSIsICJ0eXAiOiAiSldUIn0.eyJzdWIiOiAicnMiLCAiY2hyb21hX3JvbGUiOiAicmVhZGVyIiwgImV4cCI6IDQxMDI0NDQ4MDB9.eU5AjUqNa349_kc6rVeEbmBMoDQvzKnFbrfjz1L83rPAgKnCiEWzILoqsmKivQW3itYsNZZgsA6TLqAo1SPCt92vAUeOWcdNhJUZ9lZKq12ytCZEp37KH0_TLZsuWcrxqILD0zlr_M5ZRHISYvka6bEzKSqCm-94DM9Q9dpikyLNPbzklHuYNuBlbWvyAmfPD_PKaGUXRXKx1v2mVY0NyfPG6uX1e8TAVLAePfbKNKnUpIun90QCQ94yiS34dIlKw5ERF68E8FsXzIRzIGikSPieN8zP5TEJJa7BYicit42I2Fo-LR_EQ4qBSOhq67aaZYXa5i3TImACsJqe3JC-Yw";
/// A modulus of half the length.
const WEAK: &str = "yffRIovjqRhlNjpu1zy7XPOx0XV1JDz78k4x1sNbqHtmuByUu4wAF6TYo5G2ko_bOSlf7jM0Y6L4uEZ3iSBKtfdkoXFcgFGJjZkqUqhXh-wtr-_krMpDLAw8E1YL0sP72-1rPunwt8iakE32WbpbBeAKqvWbBAMRQqNQ3l2_yyU";

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", encoded(header.to_string().as_bytes()), encoded(claims.to_string().as_bytes()))
}

fn hmac_signed(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let message = message(header, claims);
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    format!("{message}.{}", encoded(ring::hmac::sign(&key, message.as_bytes()).as_ref()))
}

fn hs256(claims: &Value) -> String {
    hmac_signed(&json!({ "alg": "HS256", "typ": "JWT" }), claims, SECRET)
}

fn rules() -> Rules {
    let name = |what: &str| format!("chroma_{what}");
    let claims = ClaimNames {
        role: name("role"),
        tenants: name("tenants"),
        databases: name("databases"),
        collections: name("collections"),
    };
    Rules { issuer: None, audience: None, leeway: std::time::Duration::from_secs(10), claims }
}

fn by_secret(rules: Rules) -> Issuer {
    Issuer::new(Keys::secret(SECRET).unwrap(), rules, 2048)
}

fn judged(issuer: &Issuer, token: &str) -> Result<Principal, Rejected> {
    issuer.principal(token.as_bytes(), Timestamp::from_millis(NOW * 1000))
}

fn good() -> Value {
    json!({ "sub": "app|7", "chroma_role": "writer", "exp": NOW + 60 })
}

/// Good claims with these changes.
fn but(change: Value) -> Value {
    let mut claims = good();
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::String(text) if text == "absent" => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

#[test]
fn each_role_and_scope_is_what_the_claims_say() {
    let issuer = by_secret(rules());
    for role in Role::ALL {
        let principal = judged(&issuer, &hs256(&but(json!({ "chroma_role": role.as_str() })))).unwrap();
        assert_eq!((principal.name(), principal.role()), (Some("jwt:app|7"), role));
        assert!(principal.grants().are_unlimited());
    }
    let scope = json!({ "chroma_tenants": ["t"], "chroma_databases": ["d", "e"], "chroma_collections": [] });
    let principal = judged(&issuer, &hs256(&but(scope))).unwrap();
    let grants = principal.grants();
    assert_eq!((&grants.tenants, &grants.databases), (&Names::only(["t"]), &Names::only(["d", "e"])));
    assert_eq!(grants.collections, Names::only([]), "an empty list is nothing");
    let own = ClaimNames { role: "https://example.com/role".to_owned(), ..rules().claims };
    let namespaced = by_secret(Rules { claims: own, ..rules() });
    let claims = but(json!({ "chroma_role": "admin", "https://example.com/role": "reader" }));
    assert_eq!(judged(&namespaced, &hs256(&claims)).unwrap().role(), Role::Reader);
}

#[test]
fn a_claim_that_is_wrong_is_refused() {
    let issuer = by_secret(rules());
    let long = "x".repeat(129);
    for (change, why) in [
        (json!({ "exp": "absent" }), Rejected::NoEnd),
        (json!({ "exp": null }), Rejected::NoEnd),
        (json!({ "exp": (NOW + 60).to_string() }), Rejected::NoEnd),
        (json!({ "exp": NOW - 10 }), Rejected::Expired),
        (json!({ "exp": 0 }), Rejected::Expired),
        (json!({ "exp": -1e300 }), Rejected::Expired),
        (json!({ "exp": (NOW - 11) as f64 + 0.5 }), Rejected::Expired),
        (json!({ "nbf": NOW + 11 }), Rejected::TooEarly),
        (json!({ "nbf": 1e300 }), Rejected::TooEarly),
        (json!({ "nbf": "soon" }), Rejected::NoBeginning),
        (json!({ "nbf": null }), Rejected::NoBeginning),
        (json!({ "sub": "absent" }), Rejected::Subject),
        (json!({ "sub": "" }), Rejected::Subject),
        (json!({ "sub": 7 }), Rejected::Subject),
        (json!({ "sub": "a b" }), Rejected::Subject),
        (json!({ "sub": "a\u{1}b" }), Rejected::Subject),
        (json!({ "sub": "é" }), Rejected::Subject),
        (json!({ "sub": long }), Rejected::Subject),
        (json!({ "chroma_role": "absent" }), Rejected::Role),
        (json!({ "chroma_role": "owner" }), Rejected::Role),
        (json!({ "chroma_role": "Admin" }), Rejected::Role),
        (json!({ "chroma_role": ["admin"] }), Rejected::Role),
        (json!({ "chroma_tenants": "t" }), Rejected::Scope),
        (json!({ "chroma_databases": null }), Rejected::Scope),
        (json!({ "chroma_collections": ["a", 1] }), Rejected::Scope),
        (json!({ "aud": "another" }), Rejected::Audience),
        (json!({ "aud": [] }), Rejected::Audience),
    ] {
        assert_eq!(judged(&issuer, &hs256(&but(change.clone()))), Err(why), "{change}");
    }
    for change in [
        json!({ "exp": NOW - 9 }),
        json!({ "exp": 1e300 }),
        json!({ "exp": NOW as f64 + 0.5 }),
        json!({ "nbf": NOW + 10 }),
        json!({ "iss": "anybody", "jti": "x", "iat": NOW + 999 }),
        json!({ "sub": "x".repeat(128) }),
    ] {
        assert!(judged(&issuer, &hs256(&but(change.clone()))).is_ok(), "{change}");
    }
}

#[test]
fn issuer_and_audience_are_whose_they_have_to_be() {
    let text = |text: &str| Some(text.to_owned());
    let issuer = by_secret(Rules { issuer: text("https://id"), audience: text("edge"), ..rules() });
    for (change, expected) in [
        (json!({ "iss": "https://id", "aud": "edge" }), None),
        (json!({ "iss": "https://id", "aud": ["other", "edge"] }), None),
        (json!({ "aud": "edge" }), Some(Rejected::Issuer)),
        (json!({ "iss": "https://id/", "aud": "edge" }), Some(Rejected::Issuer)),
        (json!({ "iss": ["https://id"], "aud": "edge" }), Some(Rejected::Issuer)),
        (json!({ "iss": "https://id" }), Some(Rejected::Audience)),
        (json!({ "iss": "https://id", "aud": "edge2" }), Some(Rejected::Audience)),
        (json!({ "iss": "https://id", "aud": ["edge2"] }), Some(Rejected::Audience)),
        (json!({ "iss": "https://id", "aud": { "edge": true } }), Some(Rejected::Audience)),
    ] {
        assert_eq!(judged(&issuer, &hs256(&but(change.clone()))).err(), expected, "{change}");
    }
}

#[test]
fn a_secret_makes_hs256_and_nothing_else() {
    let issuer = by_secret(rules());
    let claims = good();
    let with = |header: Value| hmac_signed(&header, &claims, SECRET);
    assert!(judged(&issuer, &with(json!({ "alg": "HS256", "kid": "whatever" }))).is_ok());
    for (header, why) in [
        (json!({ "alg": "none" }), Rejected::Malformed),
        (json!({ "alg": "None" }), Rejected::Malformed),
        (json!({ "alg": "" }), Rejected::Malformed),
        (json!({ "alg": ["HS256"] }), Rejected::Malformed),
        (json!({}), Rejected::Malformed),
        (json!({ "alg": "hs256" }), Rejected::Malformed),
        (json!({ "alg": "HS512" }), Rejected::Algorithm),
        (json!({ "alg": "RS256" }), Rejected::Algorithm),
        (json!({ "alg": "ES256" }), Rejected::Algorithm),
        (json!({ "alg": "HS256", "crit": ["exp"] }), Rejected::Malformed),
        (json!({ "alg": "HS256", "b64": false, "crit": ["b64"] }), Rejected::Malformed),
    ] {
        assert_eq!(judged(&issuer, &with(header.clone())), Err(why), "{header}");
    }
    let unsigned = message(&json!({ "alg": "HS256" }), &claims);
    let other = hmac_signed(&json!({ "alg": "HS256" }), &claims, b"another secret of the same length");
    let signed = hs256(&claims);
    let last = &signed[signed.len() - 1..];
    let touched = format!("{}{}", &signed[..signed.len() - 5], "AAAA");
    let swapped = {
        let mut parts: Vec<String> = signed.split('.').map(str::to_owned).collect();
        parts[1] = encoded(but(json!({ "chroma_role": "admin" })).to_string().as_bytes());
        parts.join(".")
    };
    for (token, why) in [
        (format!("{unsigned}."), Rejected::Signature),
        (unsigned.clone(), Rejected::Malformed),
        (other, Rejected::Signature),
        (touched + last, Rejected::Signature),
        (swapped, Rejected::Signature),
        ("..".to_owned(), Rejected::Malformed),
        ("a.b.c".to_owned(), Rejected::Malformed),
        (format!("{signed}.{signed}"), Rejected::Malformed),
        (format!("{signed}="), Rejected::Malformed),
        (hs256(&json!([1, 2])), Rejected::Malformed),
        (hs256(&but(json!({ "padding": "p".repeat(2048) }))), Rejected::TooLong),
    ] {
        assert_eq!(judged(&issuer, &token), Err(why), "{token}");
    }
    assert_eq!(Keys::secret(&SECRET[1..]).err(), Some(KeyMistake::ShortSecret));
    assert!(!format!("{issuer:?} {issuer}").contains("0123456789abcdef"));
}

/// A key pair, and its public key as a JWK of this name.
fn pair(kid: &str) -> (EcdsaKeyPair, Value) {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
    let point = pair.public_key().as_ref().to_vec();
    let (x, y) = (encoded(&point[1..33]), encoded(&point[33..]));
    (pair, json!({ "kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "x": x, "y": y }))
}

fn es256(header: &Value, pair: &EcdsaKeyPair) -> String {
    let message = message(header, &good());
    let signature = pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    format!("{message}.{}", encoded(signature.as_ref()))
}

fn rsa(kid: &str) -> Value {
    json!({ "kty": "RSA", "kid": kid, "alg": "RS256", "use": "sig", "n": MODULUS, "e": "AQAB" })
}

fn by_set(keys: &[Value]) -> Result<Issuer, KeyMistake> {
    Ok(Issuer::new(Keys::set(&json!({ "keys": keys }).to_string())?, rules(), 2048))
}

#[test]
fn a_set_makes_what_the_key_of_that_name_is_for() {
    let (first, first_key) = pair("first");
    let (second, second_key) = pair("second");
    let issuer = by_set(&[first_key, second_key, rsa("rsa")]).unwrap();
    assert_eq!(issuer.to_string(), "ES256 first, RS256 rsa, ES256 second");
    assert_eq!(judged(&issuer, SIGNED).unwrap().name(), Some("jwt:rs"));
    assert!(judged(&issuer, &es256(&json!({ "alg": "ES256", "kid": "first" }), &first)).is_ok());
    assert!(judged(&issuer, &es256(&json!({ "alg": "ES256", "kid": "second" }), &second)).is_ok());
    let (stranger, stranger_key) = pair("first");
    let modulus = URL_SAFE_NO_PAD.decode(MODULUS).unwrap();
    let confused = |alg: &str| hmac_signed(&json!({ "alg": alg, "kid": "rsa" }), &good(), &modulus);
    for (what, token, why) in [
        ("another's key", es256(&json!({ "alg": "ES256", "kid": "second" }), &first), Rejected::Signature),
        ("no kid", es256(&json!({ "alg": "ES256" }), &first), Rejected::Key),
        ("an unknown kid", es256(&json!({ "alg": "ES256", "kid": "third" }), &first), Rejected::Key),
        ("a kid that is none", es256(&json!({ "alg": "ES256", "kid": 1 }), &first), Rejected::Malformed),
        ("the kid of RSA", es256(&json!({ "alg": "ES256", "kid": "rsa" }), &first), Rejected::Algorithm),
        ("the alg of RSA", es256(&json!({ "alg": "RS256", "kid": "first" }), &first), Rejected::Algorithm),
        ("a longer digest", es256(&json!({ "alg": "ES384", "kid": "first" }), &first), Rejected::Algorithm),
        ("a public key as a secret", confused("HS256"), Rejected::Algorithm),
        ("a secret for RSA", confused("RS256"), Rejected::Signature),
        ("another padding", confused("PS256"), Rejected::Algorithm),
        ("none", format!("{}.", message(&json!({ "alg": "none", "kid": "rsa" }), &good())), Rejected::Malformed),
        (
            "a key that it brings itself",
            es256(&json!({ "alg": "ES256", "kid": "first", "jwk": stranger_key }), &stranger),
            Rejected::Signature,
        ),
        ("touched", SIGNED.replace("eyJzdWIi", "eyJzdWJi"), Rejected::Signature),
    ] {
        assert_eq!(judged(&issuer, &token), Err(why), "{what}");
    }
}

#[test]
fn a_set_holds_public_keys_with_names() {
    let (_, good) = pair("a");
    let with = |name: &str, value: Value| {
        let mut key = good.clone();
        key[name] = value;
        key
    };
    let encryption = with("use", json!("enc"));
    let other = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "b", "x": "AAAA" });
    let unknown = json!({ "kty": "new", "kid": "c" });
    assert!(by_set(&[encryption.clone(), other, unknown, good.clone()]).is_ok(), "others are passed over");
    let nameless = {
        let mut key = good.clone();
        key.as_object_mut().unwrap().remove("kid");
        key
    };
    let weak = json!({ "kty": "RSA", "kid": "w", "n": WEAK, "e": "AQAB" });
    for (keys, why) in [
        (vec![], KeyMistake::Empty),
        (vec![encryption], KeyMistake::Empty),
        (vec![with("alg", json!("ES384"))], KeyMistake::Empty),
        (vec![with("key_ops", json!(["sign"]))], KeyMistake::Empty),
        (vec![nameless], KeyMistake::NoName),
        (vec![good.clone(), good.clone()], KeyMistake::SameName("a".to_owned())),
        (vec![with("d", json!("AAAA"))], KeyMistake::Private),
        (vec![json!({ "kty": "oct", "kid": "s", "k": "AAAA" })], KeyMistake::Private),
        (vec![with("x", json!("AAAA"))], KeyMistake::Weak("a".to_owned())),
        (vec![with("x", json!("!"))], KeyMistake::Weak("a".to_owned())),
        (vec![weak], KeyMistake::Weak("w".to_owned())),
    ] {
        assert_eq!(by_set(&keys).err(), Some(why), "{keys:?}");
    }
    for text in ["", "[]", "{}", "{\"keys\": {}}", "{\"keys\": [1]}", "-----BEGIN PUBLIC KEY-----"] {
        assert_eq!(Keys::set(text).err(), Some(KeyMistake::NotASet), "{text}");
    }
    let padded = URL_SAFE_NO_PAD.encode([&[0][..], &URL_SAFE_NO_PAD.decode(MODULUS).unwrap()].concat());
    let mut signed = rsa("rsa");
    signed["n"] = json!(padded);
    assert!(judged(&by_set(&[signed]).unwrap(), SIGNED).is_ok(), "a sign in front");
}
