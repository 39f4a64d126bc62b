//! Listeners on sockets in the file system: a socket belongs to the process that listens on it.

use std::path::Path;

use crate::world::{Running, Sandbox, eventually, refused};

/// Whether a daemon answers there.
async fn answers(socket: &Path) -> bool {
    let client = reqwest::Client::builder()
        .unix_socket(socket.to_owned())
        .build()
        .unwrap();
    let answer = client.get("http://localhost/livez").send().await;
    answer.is_ok_and(|answer| answer.status() == 200)
}

async fn begins_to_answer(socket: &Path) {
    eventually("the daemon answers on its socket", async || {
        answers(socket).await.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_is_listened_on_is_left_to_who_listens() {
    let org = Sandbox::start(&["--products", "5"]).await;
    let socket = org.dir.path().join("admin.sock");
    let listen = format!("unix:{}", socket.display());
    let here = ("STORESYNC__ADMIN__LISTEN", listen.as_str());
    let told = "storefronts are served on";
    let mut first = Running::with_first_line_of_log(org.daemon_command(&[here]), told).0;
    begins_to_answer(&socket).await;

    let elsewhere = org.dir.path().join("other");
    let other = ("STORESYNC__STATE__DIR", elsewhere.to_str().unwrap());
    for variables in [&[here][..], &[here, other]] {
        let (status, said) = refused(org.daemon_command(variables));
        assert_eq!(status, Some(69), "{said}");
        assert!(said.contains("another process listens on this socket"), "{said}");
        assert!(answers(&socket).await, "the socket of the first was taken");
    }

    // What a killed process leaves is taken over.
    first.kill();
    assert!(socket.exists());
    let mut second = Running::with_first_line_of_log(org.daemon_command(&[here]), told).0;
    begins_to_answer(&socket).await;

    // What somebody has put in its place is not removed.
    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "somebody's").unwrap();
    second.stop();
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "somebody's");
}

#[tokio::test]
async fn a_path_that_no_socket_can_have_is_refused() {
    let org = Sandbox::start(&["--products", "5"]).await;
    let long = format!("unix:/tmp/{}", "a".repeat(103));
    for (storefronts, operators, told) in [
        (
            "unix:/tmp/one.sock",
            "unix:/tmp/one.sock",
            "give each a socket of its own",
        ),
        (long.as_str(), "127.0.0.1:0", "has 108 bytes"),
        ("unix:", "127.0.0.1:0", "names no path"),
    ] {
        let (status, said) = refused(org.daemon_command(&[
            ("STORESYNC__SERVE__LISTEN", storefronts),
            ("STORESYNC__ADMIN__LISTEN", operators),
        ]));
        assert_eq!(status, Some(78), "{said}");
        assert!(said.contains(told), "{said}");
    }
}
