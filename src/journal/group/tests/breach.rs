//! The breach of G1 around the commit: each write reaches its lane once, before it is durable, and is still journaled.

use super::*;
use crate::ids::CollectionId;
use crate::journal::group::breach::ExecuteFirst;
use crate::journal::group::commit::{Commits, Committer, Next};
use crate::journal::group::queue::Queue;

fn plain() -> Draft {
    draft(LaneId::Records(CollectionId::new(uuid::Uuid::from_u128(1))), "x")
}

#[tokio::test(start_paused = true)]
async fn a_write_is_reported_once_and_early_and_journaled_however_often_that_is_refused() {
    let (store, lanes) = (Arc::new(Fake::default()), Arc::new(Lanes::default()));
    let queue = Queue::new(options());
    let committer = |sink| Committer::new(store.clone(), Arc::clone(&queue), sink);
    let commits = ExecuteFirst::around(committer, lanes.clone());
    let take = || {
        let (_, answer) = queue.append(plain(), None).unwrap();
        (queue.take(), answer)
    };
    let received = || lanes.received.lock().unwrap().len();
    let durable = || store.script.lock().unwrap().durable.len();

    // The position is not known until the write is durable.
    let (first, answer) = take();
    assert_eq!(commits.commit(first).await, Next::Now);
    assert_eq!((answer.await.unwrap().map(|at| at.seq), received(), durable()), (Ok(Seq::new(1)), 1, 1));

    store.plan(Plan::Refuse);
    store.plan(Plan::DoubtLost);
    let (second, answer) = take();
    let commit = commits.commit(second);
    tokio::pin!(commit);
    tokio::select! {
        _ = &mut commit => panic!("it is journaled late"),
        answer = answer => assert_eq!(answer.unwrap().map(|at| at.seq), Ok(Seq::new(2))),
    }
    assert_eq!((received(), durable()), (2, 1), "in its lane, and not durable");
    assert_eq!(commit.await, Next::Now);
    assert_eq!((received(), durable()), (2, 2), "durable, and not in its lane twice");
}
