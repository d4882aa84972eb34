//! `esker serve`: the house from the first stone to the open door, and back again.

use std::{io::Write, net::SocketAddr, process::ExitCode, sync::Arc};

use nfssvr::{Bound, Limits, Server, ServerConfig};
use swiftclient::StoreClass;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::{
    admin,
    args::Serve,
    build::{self, House, Plan},
    config::{Memory, Settings},
    logging,
    mount_line::mount_line,
    rpc,
};

/// Serves until SIGTERM or SIGINT; then answers what runs, makes everything durable, exits 0.
pub fn run(args: Serve) -> Result<ExitCode, String> {
    let settings = Arc::new(Settings::of(args)?);
    logging::start(settings.trace.as_deref())?;
    let pool = build::pool()?;
    pool.block_on(serve(settings, pool.handle()))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(settings: Arc<Settings>, pool: &tokio::runtime::Handle) -> Result<(), String> {
    // Asked for first: a signal during recovery must not end the process half way.
    let mut term = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let mut int = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;
    // The doors before the house: clients that connect during recovery wait in the backlog. If one
    // cannot be had, the volume is opened all the same: that another server holds it explains more.
    let doors = doors(&settings).await;

    let plan = Plan {
        store: settings.store.clone(),
        keeping: settings.keeping.clone(),
        store_timeout: settings.store_timeout,
        memory: settings.memory,
        take_over: settings.take_over,
        abandon_journal: settings.abandon_journal,
        may_format: true,
    };
    let house = Arc::new(plan.open(pool).await?);
    let started = doors.and_then(|doors| {
        let nfs = start_nfs(doors.nfs, &settings, &house)?;
        let rpc = doors.rpc.map(|rpc| rpc::start(rpc, &settings, &house)).transpose()?;
        Ok((doors.admin, nfs, rpc))
    });
    let (admin, server, rpc) = match started {
        Ok((admin, server, rpc)) => (admin, Arc::new(server), rpc.map(Arc::new)),
        Err(reason) => {
            house.index.close().await.map_err(|e| e.to_string())?;
            return Err(reason);
        }
    };
    let tending = tokio::spawn(tend(house.clone()));
    let shared = admin::Shared {
        house: house.clone(),
        server: server.clone(),
        rpc: rpc.clone(),
        settings: settings.clone(),
        since: house.env.clock.monotonic(),
    };
    let serving = tokio::spawn(admin::serve(admin, shared));
    announce(server.local_addr(), rpc.as_deref(), &settings, &house);

    tokio::select! {
        _ = term.recv() => tracing::info!("SIGTERM: draining"),
        _ = int.recv() => tracing::info!("SIGINT: draining"),
    }
    tending.abort();
    // A connection to the admin address may live on and hold the server: it reads counters only.
    serving.abort();
    if let Some(rpc) = &rpc {
        rpc.shutdown();
    }
    server.shutdown();
    let closed = house.index.close().await;
    closed.map_err(|e| format!("the volume could not be closed cleanly: {e}"))?;
    tracing::info!("everything is durable; bye");
    Ok(())
}

struct Doors {
    admin: TcpListener,
    nfs: Bound,
    rpc: Option<rpcsvr::Bound>,
}

async fn doors(settings: &Settings) -> Result<Doors, String> {
    let admin = admin::bind(settings.admin).await?;
    let nfs = Bound::new(&[settings.nfs]).map_err(|e| format!("nfs on {}: {e}", settings.nfs))?;
    Ok(Doors { admin, nfs, rpc: rpc::bind(settings)? })
}

fn start_nfs(bound: Bound, settings: &Settings, house: &House) -> Result<Server, String> {
    let Memory { calls, .. } = settings.memory;
    let calls = if settings.rpc.listen.is_empty() { calls } else { calls / 2 };
    let limits =
        Limits { total_bytes: usize::try_from(calls).unwrap_or(usize::MAX), ..Limits::default() };
    let config = ServerConfig {
        listen: vec![settings.nfs],
        reactors: None,
        exports: settings.exports.clone(),
        fsid: house.fsid(),
        handle_key: house.header.handle_key,
        limits,
        env: house.env.clone(),
    };
    Server::start_on(bound, config, house.volume.clone())
        .map_err(|e| format!("nfs on {}: {e}", settings.nfs))
}

/// What a person needs to see, on standard output, flushed: scripts read it too.
fn announce(nfs: SocketAddr, rpc: Option<&rpcsvr::Server>, settings: &Settings, house: &House) {
    let Settings { store, keeping, admin, .. } = settings;
    let class = class_in_words(house.class);
    let promise = keeping.promise(store);
    let text = format!(
        "esker serves {store} over NFSv3 on {nfs}; admin on {admin}\n{}\n\
         store: {class}\ndurability: {promise}\n{}",
        mount_line(nfs),
        rpc::words(rpc)
    );
    tracing::info!(%store, class, durability = promise, "open");
    // Whoever reads only the first lines and goes must not end the server.
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// What a store's class means to who runs a second server.
pub fn class_in_words(class: StoreClass) -> &'static str {
    match class {
        StoreClass::Fencing => {
            "fencing: of several servers that reach for the volume exactly one gets it"
        }
        StoreClass::Plain => {
            "plain: the store cannot keep a second server away; this one relies on being the only \
             server of the volume"
        }
    }
}

/// Gives the files their background turns: freeing large files in slices, reaping orphans.
async fn tend(house: Arc<House>) {
    loop {
        match house.volume.tend().await {
            Ok(true) => tokio::task::yield_now().await,
            Ok(false) => tokio::time::sleep(TEND_EVERY).await,
            Err(e) => {
                tracing::warn!(error = ?e, "background work on files failed; trying again");
                tokio::time::sleep(TEND_EVERY * 5).await;
            }
        }
    }
}

/// Pause between looks when there was nothing to do.
const TEND_EVERY: std::time::Duration = std::time::Duration::from_secs(1);
