//! What `check` says, and TLS.

use std::sync::Arc;

use readside::config::SinkConfig;
use readside::sink::elasticsearch::{ElasticsearchSink, check};
use readside::value::Type;
use reqwest::Method;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;

use super::{Model, OWNER, config, fill, opened};
use crate::harness::{Certificates, Search, beside, install_crypto};

#[tokio::test]
async fn check_tells_each_fault_and_creates_nothing() {
    let search = Search::shared().await;
    let model = Model::simple();
    let faults = async |config: &SinkConfig, model: &Model| -> Vec<(String, String)> {
        check(config, Some(OWNER), std::slice::from_ref(&model.projection))
            .await
            .into_iter()
            .map(|fault| (fault.what, fault.hint.unwrap_or_default()))
            .collect()
    };
    let good = config(search.url());
    assert_eq!(faults(&good, &model).await, []);
    assert_eq!(model.indices(&search).await, Vec::<String>::new());

    let found = faults(&config("http://127.0.0.1:1"), &model).await;
    assert!(found[0].0.contains("refused") && found[0].1.contains("start"), "{found:?}");
    let found = faults(&config(&search.url().replace("http:", "https:")), &model).await;
    assert!(found[0].1.contains("https where"), "{found:?}");
    let found = faults(&config("ftp://x"), &model).await;
    assert!(found[0].0.contains("http"), "{found:?}");

    let wrong = json!({ "properties": { "name": { "type": "txet" } } });
    let wrong = model.clone().target(|target| target.mappings = Some(wrong));
    let found = faults(&good, &wrong).await;
    assert!(found[0].0.contains("txet"), "{found:?}");
    let wrong = json!({ "number_of_shards": "many" });
    let wrong = model.clone().target(|target| target.settings = Some(wrong));
    let found = faults(&good, &wrong).await;
    assert!(found[0].0.contains("number_of_shards"), "{found:?}");
    let reserved = Model::new(&[("_id", Type::Int8)], &[0]);
    let found = faults(&good, &reserved).await;
    assert!(found[0].0.contains("_id"), "{found:?}");

    let path = format!("{}/_doc/1", model.index);
    search.request(Method::PUT, &path, Some(json!({}))).await;
    let found = faults(&good, &model).await;
    assert!(found[0].0.contains("exists already"), "{found:?}");
}

#[tokio::test]
async fn tls_needs_the_authority_that_signed() {
    let search = Search::shared().await;
    let certificates = Certificates::make();
    let url = tls_in_front(search.url(), &certificates).await;
    let model = Model::simple();
    let without = config(&url);
    let found = check(&without, Some(OWNER), &[]).await;
    assert!(found[0].what.contains("certificate"), "{found:?}");
    assert!(found[0].hint.as_ref().unwrap().contains("ca_file"), "{found:?}");

    let with = SinkConfig { ca_file: Some(certificates.authority.clone()), ..without };
    assert_eq!(check(&with, Some(OWNER), &[]).await, []);
    let projections = vec![model.projection.clone()];
    let mut sink = ElasticsearchSink::new(&with, OWNER.into(), projections).unwrap();
    assert_eq!(opened(&mut sink).await, None);
    fill(&mut sink, 1, 10, &[model.simple_row(5, "1", "x")]).await;
    assert_eq!(model.document(&search, "1").await, Some(json!({"id": 1, "name": "x"})));

    let wrong = SinkConfig { ca_file: Some("/nonexistent/ca.crt".into()), ..with };
    let found = check(&wrong, Some(OWNER), &[]).await;
    assert!(found[0].what.contains("/nonexistent/ca.crt"), "{found:?}");
}

/// A reverse proxy, as many search servers have, that only speaks TLS.
async fn tls_in_front(url: &str, certificates: &Certificates) -> String {
    install_crypto();
    let chain = CertificateDer::pem_file_iter(&certificates.server).unwrap();
    let key = PrivateKeyDer::from_pem_file(&certificates.server_key).unwrap();
    let tls = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = url.strip_prefix("http://").unwrap().to_string();
    beside(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (acceptor, server) = (acceptor.clone(), server.clone());
            beside(async move {
                // A client that does not trust us hangs up; that is what is tested.
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let mut server = tokio::net::TcpStream::connect(server).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    format!("https://localhost:{port}")
}
