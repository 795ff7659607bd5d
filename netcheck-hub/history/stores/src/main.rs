//! redb and fjall under the load of netcheck's history: bytes on disk, time of a commit and of a read, and what
//! becomes of the process when files are damaged or the disk is full. Kept apart from the workspace, so that the store
//! that lost is not in its lock file.
//!
//! `cargo run --release -- load | damage | full`. `full` mounts a tmpfs and needs root.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

type Outcome<T> = Result<T, Box<dyn Error>>;
type Change = (Vec<u8>, Option<Vec<u8>>);

/// Blocks of 256 paths: 25,600 paths.
const GROUPS: u32 = 100;
/// Six hours of steps of ten seconds.
const STEPS: u32 = 2160;
const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("blocks");

trait Store: Sized {
    fn open(dir: &Path) -> Outcome<Self>;
    fn commit(&self, changes: Vec<Change>) -> Outcome<()>;
    fn get(&self, key: &[u8]) -> Outcome<Option<Vec<u8>>>;
    fn scan(&self) -> Outcome<usize>;
}

impl Store for redb::Database {
    fn open(dir: &Path) -> Outcome<Self> {
        let mut builder = Self::builder();
        builder.set_cache_size(32 << 20);
        let db = builder.create(dir.join("history.redb"))?;
        let txn = db.begin_write()?;
        drop(txn.open_table(TABLE)?);
        txn.commit()?;
        Ok(db)
    }

    fn commit(&self, changes: Vec<Change>) -> Outcome<()> {
        let txn = self.begin_write()?;
        {
            let mut table = txn.open_table(TABLE)?;
            for (key, value) in changes {
                match value {
                    Some(value) => drop(table.insert(&*key, &*value)?),
                    None => drop(table.remove(&*key)?),
                }
            }
        }
        Ok(txn.commit()?)
    }

    fn get(&self, key: &[u8]) -> Outcome<Option<Vec<u8>>> {
        let table = self.begin_read()?.open_table(TABLE)?;
        Ok(table.get(key)?.map(|value| value.value().to_vec()))
    }

    fn scan(&self) -> Outcome<usize> {
        let table = self.begin_read()?.open_table(TABLE)?;
        let mut bytes = 0;
        for entry in table.iter()? {
            bytes += entry?.1.value().len();
        }
        Ok(bytes)
    }
}

struct Lsm(Database, Keyspace);

impl Store for Lsm {
    fn open(dir: &Path) -> Outcome<Self> {
        let db = Database::builder(dir.join("history.fjall")).max_journaling_size(64 << 20).open()?;
        let blocks = db.keyspace("blocks", || KeyspaceCreateOptions::default().max_memtable_size(8 << 20))?;
        Ok(Self(db, blocks))
    }

    fn commit(&self, changes: Vec<Change>) -> Outcome<()> {
        let mut batch = self.0.batch().durability(Some(PersistMode::SyncAll));
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(&self.1, key, value),
                None => batch.remove(&self.1, key),
            }
        }
        Ok(batch.commit()?)
    }

    fn get(&self, key: &[u8]) -> Outcome<Option<Vec<u8>>> {
        Ok(self.1.get(key)?.map(|value| value.to_vec()))
    }

    fn scan(&self) -> Outcome<usize> {
        let mut bytes = 0;
        for entry in self.1.iter() {
            bytes += entry.into_inner()?.1.len();
        }
        Ok(bytes)
    }
}

/// Bytes that don't compress: blocks are compressed before they are stored.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, about: usize) -> Vec<u8> {
        let len = about / 2 + self.next() as usize % about;
        (0..len).map(|_| self.next() as u8).collect()
    }
}

fn key(tier: u8, start: u32, group: u32) -> Vec<u8> {
    [&[tier][..], &start.to_be_bytes(), &group.to_be_bytes()].concat()
}

/// What the writer commits at one step: raw blocks of ten seconds, and with every sixtieth the rolled-up ones of ten
/// minutes in their stead.
fn step(at: u32, groups: u32, noise: &mut Noise) -> Vec<Change> {
    let mut changes: Vec<Change> =
        (0..groups).map(|group| (key(0, at, group), Some(noise.bytes(2500)))).collect();
    if at % 60 == 59 {
        let begin = at - 59;
        for (tier, about) in [(1, 150), (2, 300), (3, 1200)] {
            changes.extend((0..groups).map(|group| (key(tier, begin, group), Some(noise.bytes(about)))));
        }
        let raw = (begin..at).flat_map(|start| (0..groups).map(move |group| (key(0, start, group), None)));
        changes.extend(raw);
    }
    changes
}

fn disk_bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => disk_bytes(&entry.path()),
            Ok(meta) => std::os::unix::fs::MetadataExt::blocks(&meta) * 512,
            Err(_) => 0,
        })
        .sum()
}

fn load<S: Store>(name: &str) -> Outcome<()> {
    let dir = tempfile::tempdir_in(".")?;
    let store = S::open(dir.path())?;
    let mut noise = Noise(88_172_645_463_325_252);
    let (mut put, mut times) = (0, Vec::new());
    for at in 0..STEPS {
        let changes = step(at, GROUPS, &mut noise);
        put += changes.iter().filter_map(|(_, value)| value.as_ref().map(Vec::len)).sum::<usize>();
        let began = Instant::now();
        store.commit(changes)?;
        times.push(began.elapsed());
    }
    times.sort();
    let kept = store.scan()?;
    let began = Instant::now();
    for at in (0..STEPS).step_by(60) {
        for group in 0..GROUPS {
            assert!(store.get(&key(3, at, group))?.is_some());
        }
    }
    let get = began.elapsed() / (STEPS / 60 * GROUPS);
    drop(store);
    let began = Instant::now();
    drop(S::open(dir.path())?);
    println!(
        "{name:6} put {:5} MiB, kept {:5.1} MiB on {:5.1} MiB of disk; commit {:.1?} median, {:.1?} p99; get {get:.1?}; open {:.1?}",
        put >> 20,
        kept as f64 / 1_048_576.0,
        disk_bytes(dir.path()) as f64 / 1_048_576.0,
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        began.elapsed(),
    );
    Ok(())
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path => found.push(path),
        }
    }
    found.sort();
    found
}

/// Opens, reads and writes in a child process, as a panic must not end the trial. Returns how it ended.
fn child(store: &str, what: &str, dir: &Path) -> Outcome<&'static str> {
    let mut child = Command::new(std::env::current_exe()?);
    child.args(["child", store, what]).arg(dir).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = child.spawn()?;
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(match status.code() {
                Some(0) => "went on",
                Some(3) => "error",
                _ => "PANIC",
            });
        }
        if began.elapsed() > Duration::from_secs(20) {
            child.kill()?;
            child.wait()?;
            return Ok("HANG");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn damage<S: Store>(name: &str) -> Outcome<()> {
    let whole = tempfile::tempdir_in(".")?;
    let mut noise = Noise(88_172_645_463_325_252);
    {
        let store = S::open(whole.path())?;
        for at in 0..150 {
            store.commit(step(at, 10, &mut noise))?;
        }
    }
    for kind in ["truncated", "a byte flipped", "a page zeroed"] {
        let mut ends = std::collections::BTreeMap::<&str, u32>::new();
        for _ in 0..100 {
            let copy = tempfile::tempdir_in(".")?;
            let copied = Command::new("cp").arg("-a").arg(whole.path().join(".")).arg(copy.path()).status()?;
            assert!(copied.success());
            let files: Vec<PathBuf> =
                files(copy.path()).into_iter().filter(|file| fs::metadata(file).is_ok_and(|meta| meta.len() > 0)).collect();
            let file: File =
                OpenOptions::new().read(true).write(true).open(&files[noise.next() as usize % files.len()])?;
            let len = file.metadata()?.len();
            let at = noise.next() % len;
            match kind {
                "truncated" => file.set_len(at)?,
                "a byte flipped" => {
                    let mut byte = [0];
                    file.read_exact_at(&mut byte, at)?;
                    file.write_all_at(&[byte[0] ^ 0x55], at)?;
                }
                _ => file.write_all_at(&vec![0; 4096.min(len as usize)], at / 4096 * 4096)?,
            }
            *ends.entry(child(name, "use", copy.path())?).or_default() += 1;
        }
        println!("{name:6} {kind:15} {ends:?}");
    }
    Ok(())
}

fn full(name: &str) -> Outcome<()> {
    let dir = tempfile::tempdir_in(".")?;
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"]).arg(dir.path()).status()?;
    assert!(mount.success(), "full needs root");
    let filled = child(name, "fill", dir.path());
    let again = child(name, "use", dir.path());
    let unmounted = Command::new("umount").arg(dir.path()).status()?;
    println!("{name:6} filled up: {}; opened again: {}", filled?, again?);
    assert!(unmounted.success());
    Ok(())
}

fn use_once<S: Store>(what: &str, dir: &Path) -> Outcome<()> {
    let store = S::open(dir)?;
    store.scan()?;
    let mut noise = Noise(7);
    if what == "fill" {
        for at in 0..20_000 {
            if store.commit(step(at, 100, &mut noise)).is_err() {
                // What goes on in the background has its chance to fail as well.
                std::thread::sleep(Duration::from_secs(1));
                store.scan()?;
                return Err("full".into());
            }
        }
    }
    for at in 1000..1060 {
        store.commit(step(at, 10, &mut noise))?;
    }
    drop(store);
    Ok(())
}

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match *words.as_slice() {
        ["load"] => load::<redb::Database>("redb").and_then(|()| load::<Lsm>("fjall")),
        ["damage"] => damage::<redb::Database>("redb").and_then(|()| damage::<Lsm>("fjall")),
        ["full"] => full("redb").and_then(|()| full("fjall")),
        ["child", store, what, dir] => {
            let dir = Path::new(dir);
            let done = if store == "redb" { use_once::<redb::Database>(what, dir) } else { use_once::<Lsm>(what, dir) };
            if done.is_err() {
                std::process::exit(3);
            }
            Ok(())
        }
        _ => Err("load, damage or full".into()),
    }
}
