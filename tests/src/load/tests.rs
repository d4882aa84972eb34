use super::{Pool, Row};

#[test]
fn blocks_differ_and_do_not_compress() {
    let pool = Pool::new();
    assert_ne!(pool.block(0, Pool::BLOCK), pool.block(1, Pool::BLOCK));
    assert_eq!(pool.block(3, Pool::BLOCK).len(), Pool::BLOCK);
    assert_eq!(pool.block(250, Pool::BLOCK).len(), Pool::BLOCK);
    let mut seen = [0u32; 256];
    pool.block(7, Pool::BLOCK).iter().for_each(|&b| seen[b as usize] += 1);
    assert!(seen.iter().all(|&n| (3500..4700).contains(&n)), "bytes are evenly spread");
}

#[test]
fn every_row_has_a_name() {
    for (name, row) in Row::NAMES {
        assert_eq!(row.name(), name);
    }
}
