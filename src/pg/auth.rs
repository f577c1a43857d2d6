//! Startup and authentication (manual, 55.2.1, 55.3): clear text, MD5, SCRAM-SHA-256 with and without
//! channel binding.

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::{md5_hash, sasl};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;

use super::params::{AuthMethod, ChannelBinding, HostParams, Params};
use super::passfile::{self, Found};
use super::wire::{PINNED_SETTINGS, STARTUP_MESSAGE_BYTES_MAX as BYTES_MAX, Wire};
use super::{Error, Kind, Purpose};
use crate::config::Secret;

/// What BackendKeyData said: cancel requests need it.
#[derive(Clone, Copy, Debug, Default)]
pub struct BackendKey {
    pub process_id: i32,
    pub(super) secret: i32,
}

/// A refusal, and whether it came before the server asked for anything: only then may an attempt with
/// (or without) TLS meet another line of pg_hba.conf.
pub(super) struct Refusal {
    pub(super) error: Error,
    pub(super) at_once: bool,
}

/// From the first message to ReadyForQuery.
pub(super) async fn start(
    wire: &mut Wire,
    params: &Params,
    host: &HostParams,
    purpose: &Purpose<'_>,
) -> Result<BackendKey, Refusal> {
    let later = |error| Refusal { error, at_once: false };
    let startup = startup_packet(wire, params, purpose).map_err(later)?;
    wire.send(&startup).await.map_err(later)?;
    let first = wire.message(BYTES_MAX).await.map_err(later)?;
    if let Message::ErrorResponse(body) = &first {
        return Err(Refusal { error: wire.error(body), at_once: true });
    }
    let mut login = Login { wire, params, host };
    login.answer(first).await.map_err(later)?;
    login.until_ready().await.map_err(later)
}

fn startup_packet(wire: &Wire, params: &Params, purpose: &Purpose<'_>) -> Result<BytesMut, Error> {
    let name = params.application_name.as_deref().unwrap_or(purpose.application_name);
    let mut settings = vec![("user", params.user.as_str()), ("database", &params.dbname)];
    settings.push(("application_name", name));
    if purpose.replication {
        settings.push(("replication", "database"));
    }
    if let Some(options) = &params.options {
        settings.push(("options", options));
    }
    settings.extend(PINNED_SETTINGS);
    let mut out = BytesMut::new();
    frontend::startup_message(settings, &mut out)
        .map_err(|error| Error::protocol(wire.at(), "a parameter is unfit").caused_by(error))?;
    Ok(out)
}

struct Login<'a> {
    wire: &'a mut Wire,
    params: &'a Params,
    host: &'a HostParams,
}

impl Login<'_> {
    /// Does what the first authentication request asks, up to AuthenticationOk.
    async fn answer(&mut self, request: Message) -> Result<(), Error> {
        match request {
            Message::AuthenticationOk => return self.check(AuthMethod::None),
            Message::AuthenticationCleartextPassword => {
                self.check(AuthMethod::Password)?;
                let password = self.password()?;
                self.send_password(password.expose().as_bytes()).await?;
            }
            Message::AuthenticationMd5Password(body) => {
                self.check(AuthMethod::Md5)?;
                let password = self.password()?;
                let (user, password) = (self.params.user.as_bytes(), password.expose().as_bytes());
                self.send_password(md5_hash(user, password, body.salt()).as_bytes()).await?;
            }
            Message::AuthenticationSasl(body) => {
                self.check_method(AuthMethod::ScramSha256)?;
                self.scram(body).await?;
            }
            Message::AuthenticationGss => return Err(self.unsupported("GSSAPI")),
            Message::AuthenticationSspi => return Err(self.unsupported("SSPI")),
            Message::AuthenticationKerberosV5 => return Err(self.unsupported("Kerberos V5")),
            Message::AuthenticationScmCredential => return Err(self.unsupported("SCM credentials")),
            _ => return Err(self.wire.unexpected("authentication")),
        }
        match self.wire.message(BYTES_MAX).await? {
            Message::AuthenticationOk => Ok(()),
            Message::ErrorResponse(body) => Err(self.wire.error(&body)),
            _ => Err(self.wire.unexpected("authentication")),
        }
    }

    async fn until_ready(&mut self) -> Result<BackendKey, Error> {
        let mut key = BackendKey::default();
        loop {
            match self.wire.message(BYTES_MAX).await? {
                Message::BackendKeyData(body) => {
                    key = BackendKey { process_id: body.process_id(), secret: body.secret_key() };
                }
                Message::ReadyForQuery(_) => return Ok(key),
                Message::ErrorResponse(body) => return Err(self.wire.error(&body)),
                _ => return Err(self.wire.unexpected("startup")),
            }
        }
    }

    /// A method that cannot bind the channel, against `require_auth` and `channel_binding`.
    fn check(&self, method: AuthMethod) -> Result<(), Error> {
        self.check_method(method)?;
        if self.params.channel_binding == ChannelBinding::Require {
            return Err(self.no_binding());
        }
        Ok(())
    }

    fn check_method(&self, method: AuthMethod) -> Result<(), Error> {
        match &self.params.require_auth {
            Some(required) if !required.allows(method) => Err(self.refused(format!(
                "the server uses the authentication method {}, which require_auth forbids",
                method.name()
            ))),
            _ => Ok(()),
        }
    }

    fn no_binding(&self) -> Error {
        self.refused(
            "channel_binding=require, but the server offers no SCRAM-SHA-256-PLUS over TLS".into(),
        )
    }

    fn unsupported(&self, method: &str) -> Error {
        self.refused(format!("the server asks for {method} authentication, which is not supported"))
    }

    fn refused(&self, what: String) -> Error {
        Error::new(Kind::Authentication, self.wire.at(), what)
    }

    fn password(&self) -> Result<Secret, Error> {
        if let Some(password) = &self.params.password {
            return Ok(password.clone());
        }
        let user = &self.params.user;
        let missing = format!("the server asks for the password of {user:?}, but none is given");
        match passfile::look_up(self.params, self.host)? {
            Found::Password(password) if !password.expose().is_empty() => Ok(password),
            Found::Password(_) | Found::Nothing => Err(self.refused(missing)),
            Found::Open(path) => Err(self.refused(format!(
                "{missing} ({} is not read, because group or others may read it; chmod 0600)",
                path.display()
            ))),
        }
    }

    async fn send_password(&mut self, password: &[u8]) -> Result<(), Error> {
        let mut out = BytesMut::new();
        frontend::password_message(password, &mut out)
            .map_err(|_| self.refused("the password holds a zero byte".into()))?;
        self.wire.send(&out).await
    }

    async fn scram(&mut self, body: AuthenticationSaslBody) -> Result<(), Error> {
        let (mut plain, mut plus) = (false, false);
        let mut mechanisms = body.mechanisms();
        while let Some(mechanism) =
            mechanisms.next().map_err(|_| self.wire.unexpected("authentication"))?
        {
            plain |= mechanism == sasl::SCRAM_SHA_256;
            plus |= mechanism == sasl::SCRAM_SHA_256_PLUS;
        }
        let stream = self.wire.stream();
        if plus && !stream.is_tls() {
            // A man in the middle who ends the TLS and passes the offer on would look like this.
            let what = "the server offers SCRAM-SHA-256-PLUS on a connection without TLS";
            return Err(self.refused(what.into()));
        }
        let wanted = self.params.channel_binding != ChannelBinding::Disable;
        let binding = stream.tls_server_end_point().filter(|_| wanted);
        let (mechanism, binding) = match binding {
            Some(digest) if plus => {
                (sasl::SCRAM_SHA_256_PLUS, sasl::ChannelBinding::tls_server_end_point(digest))
            }
            _ if self.params.channel_binding == ChannelBinding::Require => {
                return Err(self.no_binding());
            }
            // "We could, you do not seem to": a server that could will notice the man in the middle.
            Some(_) if plain => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unrequested()),
            None if plain => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unsupported()),
            _ => return Err(self.refused("the server offers no SASL mechanism known here".into())),
        };

        let password = self.password()?;
        let mut scram = sasl::ScramSha256::new(password.expose().as_bytes(), binding);
        let unfit = |this: &Self, error: std::io::Error| {
            this.refused("SCRAM with the server failed".into()).caused_by(error)
        };
        let mut out = BytesMut::new();
        frontend::sasl_initial_response(mechanism, scram.message(), &mut out)
            .map_err(|error| unfit(self, error))?;
        self.wire.send(&out).await?;
        match self.wire.message(BYTES_MAX).await? {
            Message::AuthenticationSaslContinue(body) => {
                scram.update(body.data()).map_err(|error| unfit(self, error))?;
            }
            Message::ErrorResponse(body) => return Err(self.wire.error(&body)),
            _ => return Err(self.wire.unexpected("authentication")),
        }
        out.clear();
        frontend::sasl_response(scram.message(), &mut out).map_err(|error| unfit(self, error))?;
        self.wire.send(&out).await?;
        match self.wire.message(BYTES_MAX).await? {
            // The server, too, has proved that it knows the password.
            Message::AuthenticationSaslFinal(body) => {
                scram.finish(body.data()).map_err(|error| unfit(self, error))
            }
            Message::ErrorResponse(body) => Err(self.wire.error(&body)),
            _ => Err(self.wire.unexpected("authentication")),
        }
    }
}
