//! Logins, sessions, TLS and the files of a start.

use std::os::unix::fs::PermissionsExt as _;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};
use storesync_proto::pub_sub_client::PubSubClient;
use storesync_proto::{TopicInfo, TopicRequest};
use storesync_sandbox::{self as sandbox, Options};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use super::client::{Client, DATA};

#[tokio::test]
async fn every_grant_logs_in() {
    let client = Client::start().await;
    let id = ("client_id", client.env("SANDBOX_CLIENT_ID"));
    let secret = ("client_secret", client.env("SANDBOX_CLIENT_SECRET"));
    let password = client.env("SANDBOX_PASSWORD");
    for password in [
        password.clone(),
        format!("{password}{}", client.env("SANDBOX_SECURITY_TOKEN")),
    ] {
        let username = ("username", client.env("SANDBOX_USERNAME"));
        let grant = ("grant_type", "password".to_owned());
        let answer = client
            .login(&[
                grant,
                id.clone(),
                secret.clone(),
                username,
                ("password", password),
            ])
            .await;
        assert!(answer["access_token"].is_string(), "{answer}");
    }
    let refresh = ("refresh_token", client.env("SANDBOX_REFRESH_TOKEN"));
    let answer = client
        .login(&[("grant_type", "refresh_token".to_owned()), id.clone(), refresh])
        .await;
    assert!(answer["access_token"].is_string(), "{answer}");
    let grant = (
        "grant_type",
        "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned(),
    );
    let answer = client.login(&[grant, ("assertion", assertion(&client))]).await;
    assert_eq!(answer["instance_url"], client.base);
    let basic = client
        .http
        .post(format!("{}/services/oauth2/token", client.base))
        .basic_auth(&id.1, Some(&secret.1))
        .form(&[("grant_type", "client_credentials")]);
    assert_eq!(basic.send().await.unwrap().status(), StatusCode::OK);

    let wrong = [
        ("grant_type", "client_credentials".to_owned()),
        id,
        ("client_secret", "x".to_owned()),
    ];
    let answer = client.login(&wrong).await;
    assert_eq!(
        answer,
        json!({ "error": "invalid_client", "error_description": "invalid client credentials" })
    );

    let (status, person) = client.get("/services/oauth2/userinfo").await;
    assert_eq!(
        (status, &person["organization_id"]),
        (200, &json!(client.env("SANDBOX_ORG_ID")))
    );
    client.stop().await;
}

fn assertion(client: &Client) -> String {
    let pem = std::fs::read_to_string(client.env("SANDBOX_JWT_KEY")).unwrap();
    let der: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let key = RsaKeyPair::from_pkcs8(&STANDARD.decode(der).unwrap()).unwrap();
    let claims = json!({ "iss": client.env("SANDBOX_CLIENT_ID"), "sub": client.env("SANDBOX_USERNAME"),
        "aud": client.base, "exp": 4_000_000_000u64 });
    let part = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", part(&json!({ "alg": "RS256" })), part(&claims));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        signed.as_bytes(),
        &mut signature,
    )
    .unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn sessions_are_asked_for_and_end() {
    let client = Client::start().await;
    let versions = client
        .http
        .get(format!("{}/services/data/", client.base))
        .send()
        .await
        .unwrap();
    assert!(versions.headers().get("sforce-limit-info").is_none());
    let versions: Json = versions.json().await.unwrap();
    assert!(
        versions
            .as_array()
            .unwrap()
            .iter()
            .any(|version| version["version"] == "67.0")
    );

    let oauth = client.http.get(format!("{}{DATA}/limits/", client.base));
    let answer = oauth
        .header("authorization", format!("OAuth {}", client.token))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "application/json;charset=UTF-8");
    let usage = answer.headers()["sforce-limit-info"].to_str().unwrap().to_owned();
    assert!(usage.starts_with("api-usage=") && usage.contains('/'), "{usage}");

    client
        .fault(json!({ "times": 1, "fault": "expire_sessions" }))
        .await;
    let (status, body) = client.get("limits").await;
    let expired = json!([{ "message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID" }]);
    assert_eq!((status, body), (401, expired));
    client.stop().await;
}

#[tokio::test]
async fn tls_is_trusted_by_its_authority_and_files_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let options = Options {
        tls: true,
        data: Some(data.clone()),
        ..Options::default()
    };
    let client = Client::start_with(options).await;
    assert!(client.base.starts_with("https://127.0.0.1:"));
    assert_eq!(client.get("limits").await.0, 200);
    let stranger = reqwest::Client::new()
        .get(format!("{}/services/data", client.base))
        .send()
        .await;
    assert!(stranger.is_err());
    assert!(grpc_topic(&client).await.can_subscribe);
    let cut = client.request(Method::GET, "limits");
    client
        .fault(json!({ "times": 1, "fault": "drop_after_commit" }))
        .await;
    assert!(cut.send().await.is_err());

    for name in ["jwt.pem", "sandbox.env", "client_secret"] {
        let mode = std::fs::metadata(data.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let config = std::fs::read_to_string(data.join("config.toml")).unwrap();
    let config: toml::Table = config.parse().unwrap();
    let org = &config["org"];
    assert_eq!(org["login_url"].as_str(), Some(client.base.as_str()));
    let pubsub_url = format!("https://{}", client.env("SANDBOX_GRPC"));
    assert_eq!(org["pubsub_url"].as_str(), Some(pubsub_url.as_str()));
    assert_eq!(org["ca_file"].as_str(), data.join("ca.pem").to_str());
    client.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_told_in_one_sentence() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = taken.local_addr().unwrap();
    let error = sandbox::start(Options {
        http,
        ..Options::default()
    })
    .await
    .err()
    .unwrap()
    .to_string();
    assert!(
        error.contains(&http.to_string()) && error.contains("--http"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1);
}

/// Asks for a topic over gRPC with TLS, by the session that the HTTP login gave.
async fn grpc_topic(client: &Client) -> TopicInfo {
    let authority = std::fs::read_to_string(client.env("SANDBOX_CA")).unwrap();
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority));
    let address = format!("https://{}", client.env("SANDBOX_GRPC"));
    let channel = Endpoint::from_shared(address)
        .unwrap()
        .tls_config(tls)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut request = tonic::Request::new(TopicRequest {
        topic_name: "/data/ChangeEvents".to_owned(),
    });
    let organization = client.env("SANDBOX_ORG_ID");
    for (key, value) in [
        ("accesstoken", &client.token),
        ("instanceurl", &client.base),
        ("tenantid", &organization),
    ] {
        request.metadata_mut().insert(key, value.parse().unwrap());
    }
    PubSubClient::new(channel)
        .get_topic(request)
        .await
        .unwrap()
        .into_inner()
}

#[tokio::test]
async fn a_revoked_refresh_token_gives_no_more_sessions() {
    let client = Client::start().await;
    let refresh = [
        ("grant_type", "refresh_token".to_owned()),
        ("client_id", client.env("SANDBOX_CLIENT_ID")),
        ("refresh_token", client.env("SANDBOX_REFRESH_TOKEN")),
    ];
    assert!(client.login(&refresh).await["access_token"].is_string());
    let revoke = async || {
        let form = [("token", client.env("SANDBOX_REFRESH_TOKEN"))];
        let url = format!("{}/services/oauth2/revoke", client.base);
        client.http.post(url).form(&form).send().await.unwrap().status()
    };
    assert_eq!(revoke().await, 200);
    let refused = client.login(&refresh).await;
    assert_eq!(
        refused["error_description"], "expired access/refresh token",
        "{refused}"
    );
    assert_eq!(client.get("limits").await.0, 401);
    assert_eq!(revoke().await, 400);
    client.stop().await;
}
