//! The beginning of a connection: who is there, and what they are told of the server.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{Sink, SinkExt as _};
use millstream_access::{Credentials, Decision};
use pgwire::api::auth::{
    DefaultServerParameterProvider, ServerParameterProvider, StartupHandler, finish_authentication,
    protocol_negotiation, save_startup_parameters_to_metadata,
};
use pgwire::api::{
    ClientInfo, METADATA_USER, PgWireConnectionState, PidSecretKeyGenerator as _,
    RandomPidSecretKeyGenerator,
};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::startup::Authentication;
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};

use crate::errors::fatal;
use crate::serve::Shared;
use crate::session::{Entered, Session};

/// The version of PostgreSQL whose catalog and protocol clients may expect.
pub(crate) const POSTGRES_VERSION: &str = "15.0";

/// Lets clients in.
pub(crate) struct Startup {
    shared: Arc<Shared>,
    is_full: bool,
    keys: RandomPidSecretKeyGenerator,
}

impl Startup {
    pub(crate) fn new(shared: Arc<Shared>, is_full: bool) -> Self {
        Self {
            shared,
            is_full,
            keys: RandomPidSecretKeyGenerator::default(),
        }
    }

    async fn welcome<C>(&self, client: &mut C) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let session = Session::of(client);
        if let Some(options) = client.metadata().get("options") {
            session.set_options(options);
        }
        for (name, value) in client.metadata() {
            // What cannot be set keeps its value, as a connection is worth more than a setting.
            if name != METADATA_USER && name != "database" && name != "options" {
                let _kept = session.set(name, Some(value));
            }
        }
        let (pid, secret) = self.keys.generate(client);
        let entered = self.shared.sessions.enter(pid, &secret, session);
        client.set_pid_and_secret_key(pid, secret);
        // Dropped with the connection.
        client.session_extensions().insert::<Entered>(entered);
        finish_authentication(client, self).await
    }
}

#[async_trait]
impl StartupHandler for Startup {
    async fn on_startup<C>(
        &self,
        client: &mut C,
        message: PgWireFrontendMessage,
    ) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        match message {
            PgWireFrontendMessage::Startup(startup) => {
                protocol_negotiation(client, &startup).await?;
                save_startup_parameters_to_metadata(client, &startup);
                if self.is_full {
                    let why = "too many connections: end some, or try again later";
                    return Err(fatal("53300", why));
                }
                if !self.shared.options.auth.required() {
                    return self.welcome(client).await;
                }
                client.set_state(PgWireConnectionState::AuthenticationInProgress);
                let ask = Authentication::CleartextPassword;
                client
                    .send(PgWireBackendMessage::Authentication(ask))
                    .await?;
                Ok(())
            }
            PgWireFrontendMessage::PasswordMessageFamily(message) => {
                let password = message.into_password()?.password;
                let user = client.metadata().get(METADATA_USER);
                // Where there is only a token, it is the password, whoever the user says to be.
                let credentials = Credentials {
                    user: user.map(String::as_str),
                    pass: Some(&password),
                    token: Some(&password),
                };
                match self.shared.options.auth.check(&credentials) {
                    Decision::Allow { .. } => self.welcome(client).await,
                    Decision::Deny => Err(fatal("28P01", "password authentication failed")),
                }
            }
            _ => Err(fatal("08P01", "a login was expected")),
        }
    }
}

impl ServerParameterProvider for Startup {
    fn server_parameters<C>(&self, client: &C) -> Option<HashMap<String, String>>
    where
        C: ClientInfo,
    {
        let mut usual = DefaultServerParameterProvider::default();
        usual.server_version = format!(
            "{POSTGRES_VERSION} (Millstream {})",
            self.shared.options.version
        );
        "stations".clone_into(&mut usual.search_path);
        usual.is_superuser = false;
        usual.default_transaction_read_only = true;
        "UTC".clone_into(&mut usual.time_zone);
        "ISO, MDY".clone_into(&mut usual.date_style);
        usual.server_parameters(client)
    }
}
