//! What a client has seen and written: nothing that it reads may be older.

use super::Truth;
use std::collections::BTreeMap;

/// The place in its key's history of the last value seen or written.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    floors: BTreeMap<String, usize>,
}

impl Seen {
    /// Writes were acknowledged: so they were done, and nothing older may be read from now on.
    pub(crate) fn note_writes<K: AsRef<str>>(
        &mut self,
        wrote: impl IntoIterator<Item = (K, Vec<u8>)>,
        truth: &Truth<'_>,
    ) {
        for (key, data) in wrote {
            let key = key.as_ref();
            let Some(home) = (truth.home)(key) else { continue };
            let history = truth.histories[home].get(key).map_or(&[][..], |history| history);
            let place = history.iter().rposition(|value| value.as_deref() == Some(&data[..]));
            self.raise_floor(key, place.expect("an acknowledged write was done"));
        }
    }

    fn raise_floor(&mut self, key: &str, place: usize) {
        let floor = self.floors.entry(key.to_owned()).or_default();
        *floor = place.max(*floor);
    }

    /// A read must find what was stored under its key, and nothing older than was seen before.
    pub(crate) fn check_read(&mut self, key: &str, found: Option<&[u8]>, truth: &Truth<'_>) {
        if let Some(data) = found {
            let data = std::str::from_utf8(data).expect("values are text");
            let proof = format!("{key}:");
            let is_its_own = match &key[..1] {
                "n" => data.trim_end().parse::<u64>().is_ok(),
                "l" => data.split_terminator(';').all(|piece| piece.starts_with(&proof)),
                _ => data.starts_with(&proof),
            };
            assert!(is_its_own, "{data:?} is not of {key}");
        }
        let Some(home) = (truth.home)(key) else {
            return check_ever_stored(key, found, truth);
        };
        let history = truth.histories[home].get(key).map_or(&[][..], |history| history);
        let place = history.iter().rposition(|value| value.as_deref() == found);
        let Some(place) = place else {
            assert!(found.is_none(), "{key} never had this value");
            assert!(!self.floors.contains_key(key), "{key} is gone though nobody deleted it");
            return;
        };
        let floor = self.floors.get(key).copied().unwrap_or_default();
        assert!(place >= floor, "{key} is older than what was seen before");
        if key.starts_with('d') && found.is_some() {
            self.raise_floor(key, place);
        }
    }
}

fn check_ever_stored(key: &str, found: Option<&[u8]>, truth: &Truth<'_>) {
    let ever = truth.histories.iter().filter_map(|history| history.get(key)).flatten();
    let stored = found.is_none() || ever.into_iter().any(|value| value.as_deref() == found);
    assert!(stored, "{key} never had this value on any server");
}
