//! `/admin/foreign`: an operator confirms that a server with foreign data may be wiped (rule R16).
//!
//! It decides nothing about the server: `rejoin/` decides whether it may be wiped now, and `/status` shows the outcome.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use super::refused::{refused, word};
use crate::chroma::ErrorName;
use crate::coordinator::ForeignStage;
use crate::ids::{InstanceId, shown};
use crate::web::{PageRequest, Reply};

/// The actions that an operator can request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Rebuild,
}

#[derive(Debug, Deserialize)]
struct Body {
    instance: String,
    /// The only action; required, so that the request names its consequence.
    #[serde(rename = "action")]
    _action: Action,
    /// The instance's name again, because deleted data cannot be restored.
    confirm: String,
}

impl Admin {
    /// Shows how far the handling of foreign data on an instance's server is; `null` if there is none.
    pub(super) fn foreign_stage(&self, instance: InstanceId) -> Value {
        let markers = self.core.discovery().markers();
        if markers.foreign(instance).is_none() {
            return Value::Null;
        }
        match markers.foreign_stage(instance) {
            ForeignStage::Reported => json!({ "stage": "reported" }),
            ForeignStage::Asked => json!({ "stage": "asked" }),
            ForeignStage::Refused(why) => json!({ "stage": "refused", "why": why }),
            ForeignStage::Wiping { deleted, collections } => {
                json!({ "stage": "wiping", "deleted": deleted, "collections": collections })
            }
        }
    }

    /// Handles an operator's confirmation.
    pub(super) fn on_foreign(&self, request: &PageRequest) -> Reply {
        if request.method != Method::POST {
            return Reply::wrong_method("POST");
        }
        let body = match word::<Body>(&request.body) {
            Ok(body) => body,
            Err(error) => {
                let text =
                    format!("Expected {{\"instance\": NAME, \"action\": \"rebuild\", \"confirm\": NAME}}: {error}");
                return refused(400, ErrorName::InvalidArgumentError, "bad_body", &text);
            }
        };
        let Some(instance) = self.core.registry().id_of(&body.instance) else {
            let text = format!("No instance is called {:?}", shown(&body.instance));
            return refused(404, ErrorName::NotFoundError, "unknown_instance", &text);
        };
        if body.confirm != body.instance {
            let text = "`confirm` must repeat the instance's name: everything that its server holds will be deleted";
            return refused(400, ErrorName::InvalidArgumentError, "not_confirmed", text);
        }
        let Some(foreign) = self.core.discovery().markers().ask_to_wipe(instance) else {
            let text = "This server does not hold somebody else's data: there is nothing to wipe";
            return refused(409, ErrorName::ChromaError, "not_foreign", text);
        };
        tracing::warn!(instance = body.instance, %foreign, "an operator has said that this server may be wiped");
        self.core.hurry();
        let body = json!({
            "success": true,
            "instance": body.instance,
            "action": "rebuild",
            "foreign": foreign.to_string(),
            "see": "/status: instances[].foreign_rebuild, then healing",
        });
        Reply::json(202, body.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_names_the_server_twice() {
        let read = |body: &str| word::<Body>(body.as_bytes()).map(|body| (body.instance, body.confirm)).ok();
        let word = r#"{"instance":"b","action":"rebuild","confirm":"b"}"#;
        assert_eq!(read(word), Some(("b".to_owned(), "b".to_owned())));
        for bad in [
            r#"{"instance":"b","action":"rebuild"}"#,
            r#"{"instance":"b","action":"wipe","confirm":"b"}"#,
            r#"["b","rebuild","b"]"#,
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
