//! Readers read by cursor, in pages.

use super::{Fixture, Seq, delta, finished};

/// I8: from whatever cursor, in pages of whatever size, the rest is the rest.
pub async fn reading_from_every_cursor_gives_the_rest(fixture: Fixture) {
    let (id, mut writer) = fixture.writing().await;
    for size in [1, 4, 2, 7, 1] {
        let batch: Vec<_> = (0..size).map(|n| delta(&format!("{size}.{n}"))).collect();
        writer.append(&batch).await.unwrap();
    }
    writer.seal(&finished()).await.unwrap();
    let all = fixture.entries(id).await;
    assert_eq!(all.len(), 16);
    for after in 0..=all.len() {
        for limit in [1, 2, 3, 5, 15, 16, 17, 1000] {
            let page = fixture.page(id, Seq::new(after as u64), limit).await;
            let rest = &all[after..];
            // "Up to": a page may end early, at a batch's end for example, but never empty while there is more.
            assert!(page.entries.len() <= limit);
            assert!(page.entries.is_empty() == rest.is_empty(), "after {after}, limit {limit}");
            assert_eq!(page.entries, rest[..page.entries.len()], "after {after}, limit {limit}");
            assert_eq!(page.last_seq, Seq::new(16));
        }
    }
}

/// The end of the stream tells a reader that its cursor comes from somewhere else.
pub async fn a_cursor_beyond_the_end_finds_nothing(fixture: Fixture) {
    let (id, mut writer) = fixture.writing().await;
    writer.append(&[delta("one"), delta("two")]).await.unwrap();
    for after in [3, 1000, u64::from(u32::MAX) + 1, 1 << 53] {
        let page = fixture.page(id, Seq::new(after), 10).await;
        assert_eq!((page.entries, page.last_seq), (vec![], Seq::new(2)), "after {after}");
    }
}
