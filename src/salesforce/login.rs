//! The one login of the process: every session comes from here.
//!
//! Whoever finds that a session has ended asks for another, one at a time, and the circuit says whether a login may be
//! tried. While it may not, all are refused at once. What stands in the way is told from [`Org::trouble`], and
//! logged when it changes.
//!
//! While the login is refused its secret files are looked at: what has changed in them is tried at once. Secrets that
//! are in use are replaced by [`Org::take_secrets`] alone, once a login with the new ones has succeeded.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::model::org_clock::OrgClock;
use crate::model::trouble::{Kind, Reach, Trouble};
use crate::salesforce::auth::{Secrets, Session, log_in};
use crate::salesforce::circuit::{Circuit, Failure};
use crate::salesforce::{Error, Org, client};

/// What the sessions of an org are made of.
pub(super) struct Login {
    /// Held while logging in, so that however many notice an expired session, one renews it.
    secrets: tokio::sync::Mutex<Secrets>,
    /// The last, whether it has ended or not.
    session: Mutex<Option<Session>>,
    /// The last session was refused, and so was the login after it.
    has_ended: AtomicBool,
    /// The org has not accepted the last session yet.
    is_unproved: AtomicBool,
    circuit: Mutex<Circuit>,
    trouble: watch::Sender<Option<Trouble>>,
    reach: Mutex<Reach>,
    clock: Mutex<OrgClock>,
    /// No login is tried and nothing is read any more.
    closed: CancellationToken,
}

/// What became of secrets that were read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// They are the same, and in use.
    Same,
    /// They have logged in.
    New,
    /// They fail as those from before did, and are tried on.
    Failing,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Login {
    pub(super) fn new(config: &config::Org) -> Result<Self, Error> {
        Ok(Self {
            secrets: tokio::sync::Mutex::new(Secrets::read(config)?),
            session: Mutex::new(None),
            has_ended: AtomicBool::new(false),
            is_unproved: AtomicBool::new(false),
            circuit: Mutex::default(),
            trouble: watch::Sender::new(None),
            reach: Mutex::default(),
            clock: Mutex::default(),
            closed: CancellationToken::new(),
        })
    }

    /// The org's clock, as far as it is known.
    pub(super) fn clock(&self) -> MutexGuard<'_, OrgClock> {
        locked(&self.clock)
    }

    fn current(&self) -> Option<Session> {
        let has_ended = self.has_ended.load(Ordering::SeqCst);
        locked(&self.session).clone().filter(|_| !has_ended)
    }

    fn is_closed() -> Error {
        Error::LoginPaused {
            is_refused: false,
            cause: "the daemon is being stopped".to_owned(),
        }
    }

    /// Why no login is tried now.
    fn paused(&self) -> Error {
        let trouble = self.trouble.borrow();
        Error::LoginPaused {
            is_refused: trouble
                .as_ref()
                .is_none_or(|told| told.kind == Kind::LoginRefused),
            cause: match &*trouble {
                Some(trouble) => trouble.cause.clone(),
                None => "the org has ended many sessions in a short time, and logins are rationed".to_owned(),
            },
        }
    }
}

impl Org {
    /// The current session, logging in where there is none.
    pub async fn session(&self) -> Result<Session, Error> {
        let login = self.login();
        if let Some(session) = login.current() {
            return Ok(session);
        }
        let mut secrets = login.secrets.lock().await;
        match login.current() {
            Some(session) => Ok(session),
            None => self.log_in(&mut secrets).await,
        }
    }

    /// Logs in again, unless the session is already another than `stale`.
    pub async fn renew(&self, stale: &Session) -> Result<Session, Error> {
        let login = self.login();
        let mut secrets = login.secrets.lock().await;
        match login.current() {
            Some(session) if session.access_token != stale.access_token => Ok(session),
            _ => self.log_in(&mut secrets).await,
        }
    }

    /// What keeps everything from the org, where something does.
    pub fn trouble(&self) -> Option<Trouble> {
        let of_login = self.login().trouble.borrow().clone();
        of_login.or_else(|| locked(&self.login().reach).trouble())
    }

    /// Tells of each change of what keeps logins from the org.
    pub fn watch_login(&self) -> watch::Receiver<Option<Trouble>> {
        self.login().trouble.subscribe()
    }

    /// Reads secrets and certificates again. New secrets are used once they have logged in, or where those from before
    /// are refused; what cannot be read changes nothing.
    pub async fn take_secrets(&self) -> Result<Taken, Error> {
        let (fresh, http) = (Secrets::read(self.config())?, client::http(self.config())?);
        self.set_http(http);
        let login = self.login();
        let mut secrets = login.secrets.lock().await;
        let is_broken = login.trouble.borrow().is_some();
        if fresh.is_same(&secrets) && !is_broken {
            return Ok(Taken::Same);
        }
        locked(&login.circuit).release();
        if is_broken {
            *secrets = fresh;
            // Why is told where it is tried.
            let has_failed = self.log_in(&mut secrets).await.is_err();
            return Ok(if has_failed { Taken::Failing } else { Taken::New });
        }
        let mut fresh = fresh;
        let session = self.ask_for_session(&mut fresh).await?;
        *secrets = fresh;
        self.begin(session);
        Ok(Taken::New)
    }

    /// Logs in no more, and ends what waits for a login or only reads. A write that is under way is waited for.
    pub fn close(&self) {
        self.login().closed.cancel();
    }

    /// An answer, unless nothing is read any more before it comes.
    pub(super) async fn until_closed<T>(
        &self,
        url: &str,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            answer = answer => answer,
            () = self.login().closed.cancelled() => Err(Error::AnswerLost {
                url: client::without_query(url).to_owned(),
                reason: "the daemon is being stopped".to_owned(),
            }),
        }
    }

    /// Logs in anew where the org's time is in doubt: each login says when it was issued.
    pub async fn settle_time(&self) {
        if !self.login().clock().asks_for_login(self.moment()) {
            return;
        }
        tracing::info!("the org tells a later time than its last login leads to: another login settles it");
        if let Some(session) = self.login().current() {
            // Why it fails is told where it is tried.
            drop(self.renew(&session).await);
        }
    }

    /// Tries a login where none succeeds and one may be tried.
    pub async fn recover(&self) {
        if self.login().trouble.borrow().is_some() {
            // What it ends with is told where it is found.
            drop(self.session().await);
        }
    }

    /// Logs in where the circuit allows it.
    async fn log_in(&self, secrets: &mut Secrets) -> Result<Session, Error> {
        let login = self.login();
        if locked(&login.circuit).wait_millis(self.moment()).is_some() {
            let changed = Secrets::read(self.config()).ok();
            if let Some(changed) = changed.filter(|read| !read.is_same(secrets)) {
                tracing::info!("the secrets of the login have changed: they are tried");
                *secrets = changed;
                locked(&login.circuit).release();
            }
        }
        match self.ask_for_session(secrets).await {
            Ok(session) => {
                self.begin(session.clone());
                Ok(session)
            }
            Err(error @ Error::LoginPaused { .. }) => Err(error),
            Err(error) => {
                let failure = Failure::of(&error);
                locked(&login.circuit).failed(failure, self.moment());
                // A session that the org still takes may outlast a login that did not reach it.
                if failure != Failure::Away {
                    login.has_ended.store(true, Ordering::SeqCst);
                }
                self.tell(failure, &error);
                Err(error)
            }
        }
    }

    /// One login, if one more may be tried.
    async fn ask_for_session(&self, secrets: &mut Secrets) -> Result<Session, Error> {
        let (login, now) = (self.login(), self.moment());
        if login.closed.is_cancelled() {
            return Err(Login::is_closed());
        }
        {
            let mut circuit = locked(&login.circuit);
            if circuit.wait_millis(now).is_some() {
                return Err(login.paused());
            }
            circuit.tried(now);
        }
        let http = self.http();
        // Of a token that may be replaced the answer must not be lost.
        let must_end = secrets.are_replaced();
        let asked = log_in(&http, self.config(), secrets, self.clock());
        let (session, issued_at) = tokio::select! {
            asked = asked => asked?,
            () = login.closed.cancelled(), if !must_end => return Err(Login::is_closed()),
        };
        // Rows of two orgs must not meet in one cache, whoever moved the login to another.
        let before = locked(&login.session)
            .as_ref()
            .map(|before| before.org_id.clone());
        if let Some(before) = before.filter(|before| *before != session.org_id) {
            return Err(Error::OtherOrg {
                before,
                now: session.org_id,
            });
        }
        if let Some(issued_at) = issued_at {
            login.clock().issued(issued_at, self.moment());
        }
        Ok(session)
    }

    fn begin(&self, session: Session) {
        let login = self.login();
        tracing::info!(org = %session.org_id, "logged in to org {}", session.org_id);
        *locked(&login.session) = Some(session);
        login.has_ended.store(false, Ordering::SeqCst);
        login.is_unproved.store(true, Ordering::SeqCst);
    }

    /// Once for each change.
    fn tell(&self, failure: Failure, error: &Error) {
        let kind = match failure {
            Failure::Refused | Failure::TooMany => Kind::LoginRefused,
            Failure::Away => Kind::OrgUnreachable,
        };
        let (cause, now) = (error.to_string(), self.moment());
        let is_new = self.login().trouble.send_if_modified(|told| {
            if told
                .as_ref()
                .is_some_and(|told| told.kind == kind && told.cause == cause)
            {
                return false;
            }
            let since = told
                .as_ref()
                .filter(|told| told.kind == kind)
                .map_or(now, |told| told.since);
            *told = Some(Trouble {
                kind,
                since,
                cause: cause.clone(),
            });
            true
        });
        match kind {
            _ if !is_new => tracing::debug!("the login failed again: {cause}"),
            Kind::LoginRefused => tracing::error!("{cause}; it is tried again after a wait that grows"),
            Kind::OrgUnreachable => tracing::warn!("no login: {cause}; it is tried again"),
        }
    }

    /// The org has accepted a session.
    pub fn accepted(&self, session: &Session) {
        let login = self.login();
        if !login.is_unproved.load(Ordering::SeqCst) {
            return;
        }
        let is_current = login.current().is_some_and(|current| current == *session);
        if is_current && login.is_unproved.swap(false, Ordering::SeqCst) {
            locked(&login.circuit).accepted();
            if login.trouble.send_replace(None).is_some() {
                tracing::info!("the org accepts the login again");
            }
        }
    }

    /// What a request tells of the way to the org, and of the session that it was sent with.
    pub(super) fn note_answer<T>(&self, session: Option<&Session>, answer: Result<&T, &Error>) {
        let mut reach = locked(&self.login().reach);
        let was_away = reach.trouble().is_some();
        match answer {
            // One answer that is lost tells of its own request alone; several in a row, with none between, of the org.
            Err(error @ (Error::Unreachable { .. } | Error::AnswerLost { .. } | Error::NotTheApi { .. })) => {
                reach.failed(|| error.to_string(), self.moment());
                if let Some(trouble) = reach.trouble().filter(|_| !was_away) {
                    tracing::warn!("the org is away: {}", trouble.cause);
                }
            }
            Ok(_) | Err(Error::Refused { .. }) => {
                reach.answered();
                if was_away {
                    tracing::info!("the org answers again");
                }
            }
            Err(_) => {}
        }
        drop(reach);
        let is_accepted = match answer {
            Ok(_) => true,
            Err(Error::Refused { status, .. }) => matches!(status, 400 | 404),
            Err(_) => false,
        };
        if let Some(session) = session.filter(|_| is_accepted) {
            self.accepted(session);
        }
    }
}
