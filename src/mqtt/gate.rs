//! Who may connect to the built-in broker, and what for.
//!
//! Three kinds of clients: the appliance's own publisher, by a password that is random on each start; users with a
//! password; and, where no users are configured, anybody on this machine. Lives on the broker's thread. Wrong passwords
//! are slowed down by address, the publisher's aside, so that nobody can lock it out.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use mqtt5::broker::acl::{AclManager, AclRule, Permission};
use mqtt5::broker::auth::{AuthProvider, AuthResult, PasswordAuthProvider, RateLimitedAuthProvider};
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::protocol::v5::reason_codes::ReasonCode;

use super::front::RealAddresses;
use super::keeper::Keeper;
use super::{BrokerPermission, BrokerSettings, MqttError, Password};

/// The publisher's name; not a name that a user can take.
pub const PUBLISHER_USER: &str = "$aerie";

pub struct Gate {
    publisher: Password,
    users: Arc<dyn AuthProvider>,
    anonymous: bool,
    /// None: whoever is let in may do all.
    access: Option<AclManager>,
    addresses: RealAddresses,
    /// Makes subscriptions durable, where they are to be.
    keeper: Option<Arc<Keeper>>,
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Gate {
    pub async fn new(
        settings: &BrokerSettings,
        publisher: Password,
        addresses: RealAddresses,
        keeper: Option<Arc<Keeper>>,
    ) -> Result<Gate, MqttError> {
        let users = PasswordAuthProvider::new();
        for user in &settings.users {
            if user.name == PUBLISHER_USER {
                let reason = format!("{PUBLISHER_USER} is the appliance itself; choose another name");
                return Err(MqttError::Setting { key: "broker.users", reason });
            }
            if user.password.0.starts_with("$argon2") {
                users.add_user_with_hash(&user.name, &user.password.0);
            } else {
                users
                    .add_user(&user.name, &user.password.0)
                    .map_err(|error| MqttError::Setting { key: "broker.users", reason: error.to_string() })?;
            }
        }
        let mut access = None;
        if !settings.access.is_empty() {
            let rules = AclManager::new().with_default_permission(Permission::Deny);
            for entry in &settings.access {
                let permission = match entry.permission {
                    BrokerPermission::Read => Permission::Read,
                    BrokerPermission::Write => Permission::Write,
                    BrokerPermission::ReadWrite => Permission::ReadWrite,
                    BrokerPermission::Deny => Permission::Deny,
                };
                rules.add_rule(AclRule::new(&entry.user, &entry.topic, permission)).await;
            }
            access = Some(rules);
        }
        let users = Arc::new(RateLimitedAuthProvider::with_default_limits(Arc::new(users)));
        Ok(Gate { publisher, users, anonymous: settings.users.is_empty(), access, addresses, keeper })
    }

    fn is_publisher(&self, connect: &ConnectPacket) -> Option<bool> {
        if connect.username.as_deref() != Some(PUBLISHER_USER) {
            return None;
        }
        let given = connect.password.as_deref().unwrap_or_default();
        // Compared by its hash, so that the time tells nothing about the password.
        let hash = |bytes| ring::digest::digest(&ring::digest::SHA256, bytes);
        Some(hash(given).as_ref() == hash(self.publisher.0.as_bytes()).as_ref())
    }
}

impl AuthProvider for Gate {
    fn authenticate<'a>(
        &'a self,
        connect: &'a ConnectPacket,
        address: SocketAddr,
    ) -> Answer<'a, mqtt5::Result<AuthResult>> {
        Box::pin(async move {
            match self.is_publisher(connect) {
                Some(true) => return Ok(AuthResult::success_with_user(PUBLISHER_USER)),
                Some(false) => return Ok(AuthResult::fail(ReasonCode::BadUsernameOrPassword)),
                None => {}
            }
            let address = self.addresses.of(address);
            // Without users, whoever is on this machine is let in, whatever name it gives: there is no one to mistake it for.
            if self.anonymous {
                return Ok(match address.ip().is_loopback() {
                    true => AuthResult::success(),
                    false => AuthResult::fail(ReasonCode::NotAuthorized),
                });
            }
            self.users.authenticate(connect, address).await
        })
    }

    fn authorize_publish<'a>(&'a self, _client: &str, user: Option<&'a str>, topic: &'a str) -> Answer<'a, bool> {
        Box::pin(async move {
            match &self.access {
                Some(rules) if user != Some(PUBLISHER_USER) => rules.check_publish(user, topic).await,
                _ => true,
            }
        })
    }

    fn authorize_subscribe<'a>(&'a self, client: &str, user: Option<&'a str>, filter: &'a str) -> Answer<'a, bool> {
        let client = client.to_owned();
        Box::pin(async move {
            let allowed = match &self.access {
                Some(rules) if user != Some(PUBLISHER_USER) => rules.check_subscribe(user, filter).await,
                _ => true,
            };
            if allowed && let Some(keeper) = &self.keeper {
                keeper.before_subscribe(&client, filter).await;
            }
            allowed
        })
    }
}
