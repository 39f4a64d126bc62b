//! Sending orders, and what health says of it.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::outbound::push;
use crate::serve::Health;

/// Delivers orders. An org that is not set up for them is mirrored all the same: orders are kept, and health
/// says why they wait.
pub(super) async fn deliver(
    world: push::World,
    health: Arc<watch::Sender<Health>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut problem = world.problem.subscribe();
    let told = async {
        while problem.changed().await.is_ok() {
            let sentence = problem.borrow_and_update().clone();
            health.send_modify(|health| health.hindrances.orders = sentence);
        }
    };
    let pushed = tokio::select! {
        pushed = push::run(world, stop.clone()) => pushed,
        () = told => Ok(()),
    };
    match pushed {
        Err(push::PushError::Misfit(sentence)) => {
            tracing::error!("orders are kept and not sent: {sentence}");
            health.send_modify(|health| health.hindrances.orders = Some(sentence));
            stop.cancelled().await;
            Ok(())
        }
        ended => Ok(ended?),
    }
}
