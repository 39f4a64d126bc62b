//! What readers are told of the cache's freshness, looked at once a second.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::daemon::World;
use crate::daemon::mend::SetAside;
use crate::inbound::budget::Limits;
use crate::model::clock::{Clock, Millis, format_datetime};
use crate::model::freshness::{State, Truth};
use crate::model::trouble::{Failing, FileKind, Hindrances};
use crate::salesforce::Org;
use crate::serve::{Freshness, Health};
use crate::store::cache::{self, cursors, proofs};
use crate::store::damage::{self, Aside, Damaged, Found};
use crate::store::files::{Files, Opened};
use crate::store::note::HINDRANCES;
use crate::store::outbox;
use crate::store::reader::Reader;

/// How often the health that readers are told is looked at.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// What the health is made of.
pub(super) struct Watched {
    reader: Reader,
    clock: Clock,
    limits: Limits,
    topics: Vec<String>,
    org: Org,
    /// Of polls, and of records that are read again.
    failing: [watch::Sender<BTreeMap<String, Failing>>; 2],
    dir: PathBuf,
    files: Files,
    opened: Vec<Opened>,
    set_aside: Vec<SetAside>,
    full_count: u32,
    health: Arc<watch::Sender<Health>>,
    stop: CancellationToken,
}

impl Watched {
    pub(super) fn of(world: &World) -> Self {
        Self {
            reader: world.reader.clone(),
            clock: world.clock.clone(),
            limits: world.limits.clone(),
            topics: world.config.sync.channels.clone(),
            org: world.org.clone(),
            failing: [world.bells.failing.clone(), world.bells.unrepaired.clone()],
            dir: world.config.state.dir.clone(),
            files: world.outbox.files().clone(),
            opened: world.opened.clone(),
            set_aside: world.set_aside.clone(),
            full_count: world.full_count,
            health: Arc::clone(&world.health),
            stop: world.stop.clone(),
        }
    }

    /// Tells `storesync status`, which is another process.
    fn tell_others(&self, told: &mut Option<Hindrances>) {
        let now = self.health.borrow().hindrances.clone();
        if told.as_ref() == Some(&now) {
            return;
        }
        match HINDRANCES.write(&self.dir, &now) {
            Ok(()) => *told = Some(now),
            // A full disk is told of by those who must write.
            Err(error) => tracing::debug!("what stands in the way cannot be written ({error})"),
        }
    }

    /// Looks whether the files are there, whole, and may be written. Fails for damage that is mended by beginning anew.
    fn look_at_files(&self, now: Millis) -> anyhow::Result<()> {
        for opened in &self.opened {
            match opened.replaced() {
                Some(told) => {
                    self.files
                        .tell(FileKind::Replaced, opened.database(), now, || told);
                    // Who reads what does not belong together may take it for damage.
                    damage::forget(&self.dir, opened.database())?;
                }
                None => self.files.passed(FileKind::Replaced, opened.database()),
            }
        }
        self.files.look_for_room(&self.dir, self.full_count);
        let noted = damage::noted(&self.dir);
        if let Some(file) = noted.keys().find(|file| damage::is_made_again(file)) {
            return Err(Damaged(file.clone()).into());
        }
        let outbox = outbox::KIND.file_name;
        match noted.get(outbox) {
            Some(Found { cause, .. }) => self.files.tell(FileKind::Damaged, outbox, now, || {
                format!(
                    "{outbox} is damaged ({cause}); it holds the orders that were accepted, so storesync leaves it as it is and goes on: check the disk, copy the file, then restore a backup or let sqlite3 recover what it holds (.recover)"
                )
            }),
            None => self.files.passed(FileKind::Damaged, outbox),
        }
        Ok(())
    }

    fn tell_what_is_aside(&self, is_loading: bool, now: Millis) -> anyhow::Result<()> {
        let cache = cache::KIND.file_name;
        match self.set_aside.iter().find(|aside| aside.file == cache) {
            Some(SetAside { name, reason, .. }) if is_loading => {
                self.files.tell(FileKind::Damaged, cache, now, || {
                    format!(
                        "{cache} {reason} and is read again from the org; what lay there is kept as {name}"
                    )
                });
            }
            _ => self.files.passed(FileKind::Damaged, cache),
        }
        let kept = damage::aside(&self.dir)?;
        for Aside { file, name, at } in &kept {
            self.files.tell(FileKind::SetAside, name, *at, || {
                let at = format_datetime(*at);
                format!("{file} was set aside at {at}, damaged or replaced, and made again; {name} is what it was: remove it when it was looked at, it may hold personal data")
            });
        }
        let told = self.files.all().into_iter();
        for told in told.filter(|told| told.kind == FileKind::SetAside) {
            if !kept.iter().any(|kept| kept.name == told.file) {
                self.files.passed(FileKind::SetAside, &told.file);
            }
        }
        Ok(())
    }

    pub(super) fn look(&self) -> anyhow::Result<()> {
        let now = self.clock.moment();
        self.look_at_files(now.wall)?;
        let known = self
            .reader
            .with(|cache| proofs::known(cache, &self.topics, now))?;
        let heard = self.reader.with(cursors::cursors)?;
        // A channel that is no longer followed may have left its position.
        let followed = heard.iter().filter(|cursor| self.topics.contains(&cursor.topic));
        let window_left = followed.map(|cursor| cursor.replay_window_left(now.wall)).min();
        let freshness = self.limits.freshness();
        // By what is cached now: what was read again is not said to be missing once it is here.
        let cached = Truth::new(&known, &freshness, &Hindrances::default(), now);
        self.tell_what_is_aside(cached.all().state(now) == State::Initializing, now.wall)?;
        self.health.send_modify(|health| {
            health.hindrances.files = self.files.all();
            health.hindrances.trouble = self.org.trouble();
            let [polls, records] = &self.failing;
            health.hindrances.failing.clone_from(&records.borrow());
            health.hindrances.failing.extend(polls.borrow().clone());
            let truth = Truth::new(&known, &freshness, &health.hindrances, now);
            health.freshness = Freshness::new(truth);
            health.replay_window_left_millis = window_left;
        });
        Ok(())
    }
}

/// Keeps what readers are told of the cache's freshness, from the first moment on.
pub(super) async fn watch(watched: Watched) -> anyhow::Result<()> {
    let mut told = None;
    while !watched.stop.is_cancelled() {
        watched.look()?;
        watched.tell_others(&mut told);
        tokio::select! {
            () = watched.stop.cancelled() => {}
            () = tokio::time::sleep(HEALTH_INTERVAL) => {}
        }
    }
    Ok(())
}
