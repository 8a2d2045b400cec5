//! Watches the spools of all live attempts, so that partial text is shown when it is written and not when a host looks
//! next.
//!
//! One inotify instance serves them all, since a user may have 128 of them. Where there is none to be had the hosts'
//! own looks have to do.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::WeakRecipient;
use actix::prelude::*;
use futures_util::StreamExt;
use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask, Watches};

/// Room for events that are read at once, in bytes; an event about a watched file has 16.
const EVENTS_BYTES: usize = 4096;

/// Who is told of which spool. Being told keeps no actor alive.
type SpoolReaders = HashMap<WatchDescriptor, WeakRecipient<SpoolGrew>>;

/// To a reader: its agent has written.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct SpoolGrew;

/// All watched spools.
#[derive(Default)]
pub(super) struct Spools {
    /// None where the system gives us no instance.
    watches: Option<Watches>,
    readers: Mutex<SpoolReaders>,
}

/// A watched spool, for as long as this lives.
pub(super) struct Watching {
    spools: Arc<Spools>,
    descriptor: WatchDescriptor,
}

impl Spools {
    /// Begins to watch, on the thread of `arbiter`; no spool is watched yet.
    pub(super) fn start(arbiter: &ArbiterHandle) -> Arc<Self> {
        let inotify = match Inotify::init() {
            Ok(inotify) => inotify,
            Err(error) => {
                tracing::warn!(%error, "spools cannot be watched: partial text is shown up to a quarter of a second late");
                return Arc::default();
            }
        };
        let spools = Arc::new(Self {
            watches: Some(inotify.watches()),
            readers: Mutex::default(),
        });
        arbiter.spawn(Arc::clone(&spools).tell_readers(inotify));
        spools
    }

    /// Tells `reader` whenever the file at `path` grows; none where that cannot be.
    pub(super) fn watch(self: &Arc<Self>, path: &Path, reader: WeakRecipient<SpoolGrew>) -> Option<Watching> {
        let mut watches = self.watches.clone()?;
        // Held over both, so that no event finds the reader missing.
        let mut readers = self.readers();
        match watches.add(path, WatchMask::MODIFY) {
            Ok(descriptor) => {
                readers.insert(descriptor.clone(), reader);
                Some(Watching {
                    spools: Arc::clone(self),
                    descriptor,
                })
            }
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "a spool cannot be watched");
                None
            }
        }
    }

    async fn tell_readers(self: Arc<Self>, inotify: Inotify) {
        let mut events = match inotify.into_event_stream([0; EVENTS_BYTES]) {
            Ok(events) => events,
            Err(error) => return tracing::warn!(%error, "spools cannot be watched"),
        };
        while let Some(Ok(event)) = events.next().await {
            let readers = self.readers();
            if event.mask.contains(EventMask::Q_OVERFLOW) {
                // Some events are lost, and nobody knows whose.
                readers.values().for_each(tell);
            } else if let Some(reader) = readers.get(&event.wd) {
                tell(reader);
            }
        }
    }

    fn readers(&self) -> MutexGuard<'_, SpoolReaders> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(reader: &WeakRecipient<SpoolGrew>) {
    if let Some(reader) = reader.upgrade() {
        reader.do_send(SpoolGrew);
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.spools.readers().remove(&self.descriptor);
        if let Some(mut watches) = self.spools.watches.clone() {
            // The file may be gone, and the watch with it.
            let _ = watches.remove(self.descriptor.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;
    use tokio::sync::mpsc;

    struct Reader(mpsc::UnboundedSender<()>);

    impl Actor for Reader {
        type Context = Context<Self>;
    }

    impl Handler<SpoolGrew> for Reader {
        type Result = ();

        fn handle(&mut self, _: SpoolGrew, _: &mut Self::Context) {
            let _ = self.0.send(());
        }
    }

    #[actix::test]
    async fn a_reader_is_told_when_its_spool_grows_and_no_longer_than_it_watches() {
        let folder = tempfile::tempdir().unwrap();
        let spools = Spools::start(&Arbiter::current());
        let watched = |name: &str| {
            let path = folder.path().join(name);
            let file = File::create(&path).unwrap();
            let (sender, told) = mpsc::unbounded_channel();
            let reader = Reader(sender).start();
            let watching = spools.watch(&path, reader.downgrade().recipient());
            (file, told, reader, watching.unwrap())
        };
        let (mut first, mut told_first, _reader_first, watching_first) = watched("first");
        let (mut second, mut told_second, _reader_second, _watching) = watched("second");
        first.write_all(b"a line\n").unwrap();
        assert_eq!(told_first.recv().await, Some(()));
        assert!(told_second.try_recv().is_err(), "it is not about the other");
        drop(watching_first);
        first.write_all(b"a line\n").unwrap();
        second.write_all(b"a line\n").unwrap();
        assert_eq!(told_second.recv().await, Some(()));
        assert!(told_first.try_recv().is_err(), "events come in order: there was none");
    }
}
