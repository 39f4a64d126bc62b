//! SIGKILL between any two steps of an order: the next daemon goes on where this one stood.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::timeout;

use super::{Person, QUIET, World, stands_at};

/// The failpoints of an order's way, each in the middle of a step. A number tells the how-manyth time: in a long
/// order, in the middle of its pieces.
const FAILPOINTS: [&str; 10] = [
    "accept_before_commit",
    "accept_after_commit",
    "claim_before_commit",
    "push_before_send",
    "push_after_send",
    "push_between_requests",
    "push_before_send:3",
    "push_after_send:4",
    "record_before_commit",
    "confirm_before_commit",
];

/// How long a storefront waits for an answer that does not come.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Worlds at a time, with keys on items and without.
const WORLDS: usize = 6;

async fn killed_at(world: &mut World, number: usize, failpoint: &str, size: usize) {
    let what = format!("killed at {failpoint}, {size} items");
    let key = format!("KILL-{number:03}");
    world.daemon.running.kill();
    let mut variables = QUIET.to_vec();
    variables.push(("STORESYNC_FAILPOINT", failpoint));
    world.daemon = world.org.daemon_with(&variables).await;
    let person = [Person::Guest, Person::Contact, Person::Account][number % 3];
    let posted = world.order(&key, size, person);
    // A storefront that is answered and knows no more, or that is not answered and sends it again.
    let placing = world.daemon.place(&world.store, &posted);
    let (answer, ()) = tokio::join!(timeout(ANSWER_MAX, placing), stands_at(&world.daemon, failpoint));
    world.daemon.running.kill();
    world.daemon = world.org.daemon_with(&QUIET).await;
    let path = format!("/v1/stores/{}/orders/{key}", world.store);
    match answer {
        Ok(Some((202, _))) => {
            let known = world.daemon.get(&path).await.unwrap();
            assert_eq!(
                known.0, 200,
                "{what}: it was accepted and is not known: {}",
                known.1
            );
        }
        Ok(Some(answer)) => panic!("{what}: {answer:?}"),
        Ok(None) | Err(_) => {
            let (status, answer) = world.daemon.place(&world.store, &posted).await.unwrap();
            assert_eq!(status, 202, "{what}: {answer}");
        }
    }
    let told = world.daemon.until(&path, &["confirmed", "needs_attention"]).await;
    assert_eq!(told["state"], "confirmed", "{what}: {told}");
    world.has_exactly(&key, size, &what).await;
}

#[test]
fn killed_at_any_failpoint_each_order_is_there_once() {
    let full = std::env::var("STORESYNC_MATRIX").is_ok_and(|asked| asked == "full");
    let mut cases = Vec::new();
    for failpoint in FAILPOINTS {
        let in_pieces = failpoint.contains(':');
        for size in [1, 24, 200, 1_200] {
            // Orders of one request have no third; of those, graphs differ from composites in the sending alone.
            let enough = full && !in_pieces || size == 1 || size == 24 && failpoint == "push_after_send";
            let possible = size == 1_200 || !in_pieces && enough;
            for with_keys in [true, false] {
                // How far a long order is, keys alone tell; elsewhere they take turns.
                if possible && (full || in_pieces || (cases.len() % 2 == 0) == with_keys) {
                    cases.push((failpoint, size, with_keys));
                }
            }
        }
    }
    let count = cases.len();
    let mut waiting: [Vec<(usize, &str, usize)>; 2] = Default::default();
    for (number, (failpoint, size, with_keys)) in cases.into_iter().enumerate() {
        waiting[usize::from(with_keys)].push((number, failpoint, size));
    }
    let waiting = Mutex::new(waiting);
    let world = |with_keys: bool| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut world = World::open(with_keys).await;
            while let Some((number, failpoint, size)) =
                { waiting.lock().unwrap()[usize::from(with_keys)].pop() }
            {
                killed_at(&mut world, number, failpoint, size).await;
            }
        });
    };
    std::thread::scope(|scope| {
        for number in 0..WORLDS {
            let world = &world;
            scope.spawn(move || world(number % 2 == 0));
        }
    });
    println!("{count} kills at {} failpoints", FAILPOINTS.len());
}
