//! TLS below HTTP/2. Certificates come from Python as PEM, and may be replaced while connections stand.
use std::io;
use std::sync::{Arc, Mutex};

use tokio::net::TcpStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ServerConfig, WebPkiClientVerifier};
use tokio_rustls::rustls::{RootCertStore, DEFAULT_VERSIONS};
use tokio_rustls::server::TlsStream;
use tokio_rustls::TlsAcceptor;

use crate::lock;

const HTTP_2: &[u8] = b"h2";

/// Certificate chain, private key, and the authorities of clients' certificates; all PEM.
pub type Pem = (Vec<u8>, Vec<u8>, Option<Vec<u8>>);

pub struct Tls {
    newest: Mutex<Arc<ServerConfig>>,
}

impl Tls {
    /// The error is for people.
    pub fn new(pem: &Pem) -> Result<Self, String> {
        Ok(Tls { newest: Mutex::new(config(pem)?) })
    }

    /// From now on for new connections. What cannot be used changes nothing.
    pub fn set(&self, pem: &Pem) -> Result<(), String> {
        let config = config(pem)?;
        *lock(&self.newest) = config;
        Ok(())
    }

    pub async fn accept(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = lock(&self.newest).clone();
        let stream = TlsAcceptor::from(config).accept(socket).await?;
        if stream.get_ref().1.alpn_protocol() == Some(HTTP_2) {
            Ok(stream)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "the client did not ask for h2"))
        }
    }
}

/// Each has session tickets of its own: nobody resumes what was allowed by authorities of before.
fn config((certificate, key, client_ca): &Pem) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(certificate).map_err(|error| format!("certificate: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("private key: {error}"))?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(DEFAULT_VERSIONS)
        .map_err(|error| error.to_string())?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(pem)?), provider)
                .build()
                .map_err(|error| format!("client authorities: {error}"))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| format!("certificate and private key: {error}"))?;
    config.alpn_protocols = vec![HTTP_2.to_vec()];
    Ok(Arc::new(config))
}

fn authorities(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem).map_err(|error| format!("client authorities: {error}"))? {
        roots.add(certificate).map_err(|error| format!("client authorities: {error}"))?;
    }
    Ok(roots)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(certificates) if certificates.is_empty() => Err("no certificate in PEM".into()),
        found => found.map_err(|error| error.to_string()),
    }
}
