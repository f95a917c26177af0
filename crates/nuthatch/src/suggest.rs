//! "Did you mean": the known word that is nearest to a misspelled word.
//!
//! The one rule: no suggestion is better than a bad one. At most a third of the letters may be
//! wrong.

/// The word of `known` nearest to `word`, if one is near enough; the first of equals.
pub(crate) fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let word = word.to_ascii_lowercase();
    known
        .map(|candidate| (distance(word.as_bytes(), candidate.as_bytes()), candidate))
        .filter(|(distance, candidate)| distance * 3 <= candidate.len().max(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The number of bytes that must be added, removed, replaced or swapped with their neighbour to
/// turn `b` into `a` (optimal string alignment).
fn distance(a: &[u8], b: &[u8]) -> usize {
    // The cell of row i, column j is the distance of the first i bytes of a and j bytes of b.
    let width = b.len() + 1;
    let mut cells: Vec<usize> = (0..width * (a.len() + 1)).map(|i| i % width + i / width).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let at = i * width + j;
            let replaced = cells[at - width - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(cells[at - width] + 1).min(cells[at - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(cells[at - 2 * width - 2] + 1);
            }
            cells[at] = best;
        }
    }
    cells[cells.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [&str; 4] = ["server_connections", "servers", "listen", "hash"];

    #[test]
    fn a_slip_finds_its_word() {
        for (slip, word) in [
            ("server", "servers"),
            ("server-connections", "server_connections"),
            ("Listen", "listen"),
            ("lsiten", "listen"),
            ("hahs", "hash"),
            ("has", "hash"),
        ] {
            assert_eq!(nearest(slip, WORDS.into_iter()).unwrap_or(""), word, "{slip}");
        }
    }

    #[test]
    fn a_word_of_its_own_finds_none() {
        assert_eq!(nearest("upstream", WORDS.into_iter()), None);
        assert_eq!(nearest("", WORDS.into_iter()), None);
    }

    #[test]
    fn the_distance_counts_single_changes() {
        assert_eq!(distance(b"kitten", b"sitting"), 3);
        assert_eq!(distance(b"", b"abc"), 3);
        assert_eq!(distance(b"listen", b"lsitne"), 2);
        assert_eq!(distance(b"same", b"same"), 0);
    }
}
