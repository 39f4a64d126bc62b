//! Who an operator is, and what the token lets them do.
//!
//! A token without roles is for everything, as is the token of this machine, and everybody who may use a socket in the file
//! system. A token of some stores sees the writes of those, and no page that is of all stores. Values of
//! persons are for the role of that name: without it a write is told without what it holds.

use std::collections::BTreeSet;

use axum::http::StatusCode;

use crate::config::Role;
use crate::outbound::outbox::View;
use crate::outbound::outbox::desk::{Detail, Filter};
use crate::serve::World;
use crate::serve::audit::sums::Lack;
use crate::serve::problem::Problem;

fn refused(detail: impl Into<String>, lack: Lack) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "forbidden", detail).for_lack_of(lack)
}

/// Whoever asks at the operators' listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The token's name; `None` where no token is needed.
    name: Option<String>,
    roles: Vec<Role>,
    /// Ids; `None` for all stores.
    stores: Option<BTreeSet<String>>,
}

impl Operator {
    /// Who comes in where no token is needed: by a socket, or to where nothing is of a person.
    pub fn anybody() -> Self {
        Self {
            name: None,
            roles: Role::ALL.to_vec(),
            stores: None,
        }
    }

    pub fn new(name: &str, roles: &[Role], stores: Option<BTreeSet<String>>) -> Self {
        Self {
            name: Some(name.to_owned()),
            roles: roles.to_vec(),
            stores,
        }
    }

    /// The token's name; `None` where no token is needed.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Ids of the stores that the token is for, or that it is for all.
    pub fn stores(&self) -> Vec<&str> {
        match &self.stores {
            Some(stores) => stores.iter().map(String::as_str).collect(),
            None => vec!["all"],
        }
    }

    pub fn may(&self, role: Role) -> bool {
        self.roles.iter().any(|own| own.includes(role))
    }

    /// Refuses what the token is not for.
    pub fn check(&self, role: Role, of_all_stores: bool) -> Result<(), Problem> {
        if !self.may(role) {
            let detail = format!("the token is not for this: it needs the role {}", role.name());
            return Err(refused(detail, Lack::Role(role)));
        }
        if of_all_stores && self.stores.is_some() {
            let detail = "this is of all stores: the token is for some";
            return Err(refused(detail, Lack::Stores));
        }
        Ok(())
    }

    /// Whether a store is among those that the token is for.
    pub fn holds(&self, store_id: &str) -> bool {
        self.stores
            .as_ref()
            .is_none_or(|stores| stores.contains(store_id))
    }

    /// Of what a filter takes, what the operator may see. One that looks into what writes hold is refused where that is
    /// withheld, because what it finds would tell.
    pub fn narrowed(&self, filter: Filter) -> Result<Filter, Problem> {
        if filter.text.is_some() || filter.customer.is_some() {
            self.check(Role::Personal, false)?;
        }
        Ok(Filter {
            stores: self.stores.clone(),
            ..filter
        })
    }

    /// A write as the operator may see it.
    pub fn shown(&self, detail: Detail) -> Detail {
        match self.may(Role::Personal) {
            true => detail,
            false => detail.without_values(),
        }
    }

    /// Counts writes that the operator was told with the values of persons.
    pub fn has_read<'v>(&self, world: &World, otherwise: &str, views: impl IntoIterator<Item = &'v View>) {
        if !self.may(Role::Personal) {
            return;
        }
        let (now, actor) = (world.clock.now(), self.actor(otherwise));
        for view in views {
            let store = Some(view.store_id.as_str());
            world.audit.read(now, actor, store, view.kind_name());
        }
    }

    /// Who it is, as the audit has it: the token's name where there is one. Whom a request names is not believed.
    pub fn actor<'a>(&'a self, otherwise: &'a str) -> &'a str {
        self.name().unwrap_or(otherwise)
    }
}
