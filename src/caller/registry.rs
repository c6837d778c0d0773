//! Where names are looked up on a request's way, and where unknown ids are noted. Nothing waits here: the names are
//! a snapshot, and what cannot be noted at once is not noted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::Notify;

use super::names::{Directory, Known, Named};
use crate::locks::lock;

/// The names of all n8n instances, shared by those who look them up and by who keeps them.
#[derive(Debug, Default)]
pub struct Registry {
    /// Whether any n8n is configured.
    is_on: AtomicBool,
    generation: AtomicU64,
    directory: ArcSwap<Directory>,
    /// For each instance, who is to be asked for there.
    instances: ArcSwap<Vec<Arc<Unresolved>>>,
}

/// Who is to be asked for at one instance.
#[derive(Debug, Default)]
struct Unresolved {
    instance: Box<str>,
    unknown: Mutex<Vec<Unknown>>,
    noted: Notify,
}

/// A workflow that no n8n knew, or a node that its workflow did not have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unknown {
    /// Which n8n, if it was said.
    pub instance: Option<Box<str>>,
    /// The workflow's id.
    pub workflow: Box<str>,
    /// The node's id.
    pub node: Option<Box<str>>,
}

impl Registry {
    /// For the instances of that directory, which may know nothing yet.
    #[must_use]
    pub fn new(directory: Directory) -> Self {
        let registry = Self::default();
        registry.renew(directory);
        registry
    }

    /// For the instances of that directory from now on.
    pub fn renew(&self, directory: Directory) {
        let unresolved = |known: &Arc<Known>| {
            let before = self.unresolved(&known.name);
            before.unwrap_or_else(|| Arc::new(Unresolved { instance: known.name.clone(), ..Unresolved::default() }))
        };
        let instances: Vec<_> = directory.instances().iter().map(unresolved).collect();
        self.is_on.store(!instances.is_empty(), Ordering::Relaxed);
        self.instances.store(Arc::new(instances));
        self.directory.store(Arc::new(directory));
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// The names as they are now; nothing where no n8n is configured.
    #[must_use]
    #[inline]
    pub fn directory(&self) -> Option<Guard<Arc<Directory>>> {
        self.is_on.load(Ordering::Relaxed).then(|| self.directory.load())
    }

    /// The names as they are now, to be kept; empty where no n8n is configured.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Directory> {
        self.directory.load_full()
    }

    /// A number that is another one once the names are others.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// What is known of one n8n from now on.
    pub fn put(&self, known: &Arc<Known>) {
        self.directory.rcu(|directory| {
            let replaced = |old: &Arc<Known>| Arc::clone(if old.name == known.name { known } else { old });
            Directory::new(directory.instances().iter().map(replaced).collect())
        });
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Notes a caller without a name, where `found` shows that.
    pub fn note(&self, found: Option<&Named<'_>>, instance: Option<&str>, workflow: &str, node: Option<&str>) {
        if found.is_some_and(|named| named.node.is_some() || node.is_none()) {
            return;
        }
        let instances = self.instances.load();
        for unresolved in
            instances.iter().filter(|unresolved| instance.is_none_or(|name| *unresolved.instance == *name))
        {
            unresolved.note(instance, workflow, node);
        }
    }

    /// Who was noted for that instance since; none are left.
    #[must_use]
    pub fn take_unknown(&self, instance: &str) -> Vec<Unknown> {
        let unresolved = self.unresolved(instance);
        unresolved.map(|unresolved| std::mem::take(&mut *lock(&unresolved.unknown))).unwrap_or_default()
    }

    /// Has those be noted again for that instance, for whom there was no time.
    pub fn put_back(&self, instance: &str, unknown: &[Unknown]) {
        let Some(unresolved) = self.unresolved(instance) else { return };
        for one in unknown {
            unresolved.note(one.instance.as_deref(), &one.workflow, one.node.as_deref());
        }
    }

    /// Waits until a caller is noted for that instance.
    pub async fn wait_for_unknown(&self, instance: &str) {
        match self.unresolved(instance) {
            Some(unresolved) => unresolved.noted.notified().await,
            None => std::future::pending().await,
        }
    }

    fn unresolved(&self, instance: &str) -> Option<Arc<Unresolved>> {
        self.instances.load().iter().find(|unresolved| *unresolved.instance == *instance).map(Arc::clone)
    }
}

impl Unresolved {
    fn note(&self, instance: Option<&str>, workflow: &str, node: Option<&str>) {
        let Ok(mut unknown) = self.unknown.try_lock() else { return };
        let is_same = |known: &Unknown| *known.workflow == *workflow && known.node.as_deref() == node;
        if unknown.len() < MOST_UNKNOWN && !unknown.iter().any(is_same) {
            let [instance, node] = [instance, node].map(|id| id.map(Box::from));
            unknown.push(Unknown { instance, workflow: workflow.into(), node });
            self.noted.notify_one();
        }
    }
}

/// How many wait to be asked for at a time.
const MOST_UNKNOWN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_name_is_noted_once_and_never_without_end() {
        let registry = Registry::new(Directory::new(vec![Arc::new(Known::nothing("main", "http://n8n"))]));
        for number in 0..200 {
            let id = (number / 2).to_string();
            registry.note(None, None, &id, Some("n"));
        }
        let unknown = registry.take_unknown("main");
        assert_eq!(unknown.len(), MOST_UNKNOWN);
        assert_eq!(&*unknown[1].workflow, "1");
        assert!(registry.take_unknown("main").is_empty());
        registry.put_back("main", &unknown);
        assert_eq!(registry.take_unknown("main"), unknown);
        assert!(Registry::default().directory().is_none());
    }
}
