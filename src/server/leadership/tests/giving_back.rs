//! The end in good order while writes are being sent: what is waited for, for how long, and what is reported to the next edge.

use super::*;
use crate::lease::LeaseEnded;

/// On the real clock, which a lease uses; long enough for any machine.
fn granted_for_long() -> Result<Claim, LeadershipError> {
    Ok(Claim::Granted { term: LeaseTerm::For(Duration::from_secs(60)), predecessor: Predecessor::Gone })
}

/// Lets all other ready tasks run while the clock stands still.
async fn let_others_go_on() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_being_sent_ends_within_the_lease_before_it_is_given_back() {
    let fixture = fixture();
    fixture.claims([granted_for_long()]);
    fixture.holder.claim(|| ()).await.unwrap();
    let (first, second) = (fixture.lease.sending(), fixture.lease.sending());
    let stopping = async {
        let began = tokio::time::Instant::now();
        fixture.holder.stop_sending().await;
        began.elapsed()
    };
    let stopped = std::cell::Cell::new(false);
    let writes = async {
        let_others_go_on().await;
        assert_eq!(fixture.lease.sending().check(), Err(LeaseEnded), "nothing begins any more");
        assert_eq!((first.check(), first.handed_over()), (Ok(()), Ok(())), "what has begun ends");
        let_others_go_on().await;
        assert_eq!(second.handed_over(), Ok(()), "and is waited for to the last one");
        let_others_go_on().await;
        assert!(fixture.lease.check().is_err(), "over, with the last byte");
        // The answers are on their way.
        drop(first);
        let_others_go_on().await;
        sleep(LAST_ANSWERS / 2).await;
        assert!(!stopped.get(), "an answer that is awaited is progress for the next edge");
        drop(second);
    };
    let (took, ()) = tokio::join!(biased; async { let took = stopping.await; stopped.set(true); took }, writes);
    assert!(took < LAST_ANSWERS, "and when it has come, nothing is waited for: {took:?}");
    fixture.holder.release().await;
    assert_eq!(*fixture.script.calls.lock().unwrap(), ["claim", "release"], "nothing was late");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_no_instance_takes_does_not_hold_up_the_end_and_is_told_of() {
    let fixture = fixture();
    let (_core, _work, _folder) = fixture.core();
    fixture.claims([granted_for_long()]);
    fixture.holder.claim(|| ()).await.unwrap();
    let hung = fixture.lease.sending();
    let began = tokio::time::Instant::now();
    let stopping = fixture.holder.stop_sending();
    let late = async {
        sleep(LAST_SENDS + LAST_SENDS / 2).await;
        assert_eq!(hung.handed_over(), Err(LeaseEnded), "the next edge may be sending by now");
        fixture.late_writes.note(&[LaneId::Catalog], crate::ids::InstanceId(0));
    };
    tokio::join!(stopping, late);
    let (took, slack) = (began.elapsed(), Duration::from_millis(100));
    assert!(took >= LAST_SENDS * 2 + LAST_ANSWERS && took < LAST_SENDS * 2 + LAST_ANSWERS + slack, "{took:?}");
    fixture.holder.release().await;
    let told = fixture.script.told.lock().unwrap().clone();
    assert_eq!(told, [LateWrite { lane: LaneId::Catalog, instance: InstanceName::new("a") }]);
    let calls = fixture.script.calls.lock().unwrap().clone();
    assert_eq!(calls.last(), Some(&"release"), "told of before the journal is given back: {calls:?}");
    drop(hung);
}
