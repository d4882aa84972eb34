//! Row 15 and the RPC layer: wrong programs, versions, procedures, arguments and identities get
//! their proper answer on a connection that lives.

use esker_tests::nfsclient::proc::{Getattr, Null};
use esker_tests::nfsclient::{Conn, Cred, Fault, MOUNT, NFS, RpcStatus, put_call};

use crate::Lab;

#[test]
fn programs_versions_and_procedures() {
    let lab = Lab::new();
    let mut c = lab.client();
    for (target, want) in [
        ((100_227, 3, 0), RpcStatus::ProgUnavail), // NFSACL, asked at each mount
        ((100_021, 4, 0), RpcStatus::ProgUnavail), // NLM
        ((100_024, 1, 0), RpcStatus::ProgUnavail),
        ((0, 0, 0), RpcStatus::ProgUnavail),
        ((NFS, 2, 0), RpcStatus::ProgMismatch(3, 3)),
        ((NFS, 4, 1), RpcStatus::ProgMismatch(3, 3)),
        ((NFS, u32::MAX, 0), RpcStatus::ProgMismatch(3, 3)),
        ((NFS, 3, 22), RpcStatus::ProcUnavail),
        ((NFS, 3, u32::MAX), RpcStatus::ProcUnavail),
        ((MOUNT, 3, 6), RpcStatus::ProcUnavail),
        ((MOUNT, 4, 0), RpcStatus::ProgMismatch(3, 3)),
        ((NFS, 3, 1), RpcStatus::GarbageArgs),
        ((NFS, 3, 0), RpcStatus::Success),
        ((MOUNT, 3, 0), RpcStatus::Success),
    ] {
        let r = c.call_raw(target, &[]).unwrap();
        // The lowest version of MOUNT is the server's own choice.
        match (r.status, want) {
            (RpcStatus::ProgMismatch(_, 3), RpcStatus::ProgMismatch(_, 3)) if target.0 == MOUNT => {
            }
            (got, want) => assert_eq!(got, want, "{target:?}"),
        }
    }
    c.attr(&lab.root).unwrap();
}

#[test]
fn every_procedure_refuses_cut_arguments() {
    let lab = Lab::new();
    let mut c = lab.client();
    for proc_ in 1..22 {
        for args in [&[][..], &[0, 0, 0], &[0, 0, 0, 64, 1, 2, 3, 4], &[0xff; 4], &[0xff; 400]] {
            let r = c.call_raw((NFS, 3, proc_), args).unwrap();
            assert_eq!(r.status, RpcStatus::GarbageArgs, "procedure {proc_}, {} bytes", args.len());
        }
    }
    for proc_ in [1, 3] {
        let r = c.call_raw((MOUNT, 3, proc_), &[0xff; 8]).unwrap();
        assert_eq!(r.status, RpcStatus::GarbageArgs);
    }
    c.attr(&lab.root).unwrap();
}

#[test]
fn identities() {
    let lab = Lab::new();
    let mut c = lab.client();
    let rejected = |c: &mut esker_tests::nfsclient::Client, cred: Cred| {
        c.cred = cred;
        match c.call(&Getattr(&lab.root)) {
            Err(Fault::Rpc(RpcStatus::AuthError(why))) => why,
            r => panic!("{r:?}"),
        }
    };
    let sys = Cred::sys(0, 0, &[]).body;
    // BADCRED, REJECTEDCRED or TOOWEAK.
    let gss = rejected(&mut c, Cred { flavor: 6, body: vec![0; 20] });
    assert!(matches!(gss, 1 | 2 | 5), "RPCSEC_GSS: {gss}");
    assert_eq!(rejected(&mut c, Cred { flavor: 1, body: sys[..sys.len() - 4].to_vec() }), 1);
    assert_eq!(rejected(&mut c, Cred { flavor: 1, body: vec![] }), 1);
    assert_eq!(rejected(&mut c, Cred::sys(0, 0, &[1; 17])), 1, "17 groups");
    let long = {
        let mut b = vec![0, 0, 0, 0, 0, 0, 1, 0];
        b.extend([b'h'; 256]);
        b.extend([0; 12]);
        b
    };
    assert_eq!(rejected(&mut c, Cred { flavor: 1, body: long }), 1, "a host name of 256 bytes");
    c.cred = Cred::sys(0, 0, &[1; 16]);
    c.attr(&lab.root).unwrap();
    c.cred = Cred::none();
    c.call(&Null).unwrap();
    // An anonymous caller is nobody: it sees what others may see.
    assert_eq!(c.attr(&lab.root).unwrap().fileid, lab.client().attr(&lab.root).unwrap().fileid);
}

#[test]
fn another_rpc_version() {
    let lab = Lab::new();
    let mut conn = Conn::open(lab.server.nfs).unwrap();
    let mut call = Vec::new();
    put_call(&mut call, 5, (NFS, 3, 0), &Cred::none());
    call[8..12].copy_from_slice(&3u32.to_be_bytes());
    let mut raw = (0x8000_0000 | call.len() as u32).to_be_bytes().to_vec();
    raw.extend(&call);
    conn.queue_raw(&raw);
    conn.flush().unwrap();
    let r = conn.reply().unwrap();
    assert_eq!((r.xid, r.status), (5, RpcStatus::RpcMismatch(2, 2)));
    conn.queue(6, (NFS, 3, 0), &Cred::none(), |_| {});
    conn.flush().unwrap();
    assert_eq!(conn.reply().unwrap().status, RpcStatus::Success, "the connection lives");
}

/// One call in many fragments, of one byte, of none.
#[test]
fn a_call_in_pieces() {
    let lab = Lab::new();
    let mut conn = Conn::open(lab.server.nfs).unwrap();
    let mut call = Vec::new();
    put_call(&mut call, 9, (NFS, 3, 0), &Cred::sys(0, 0, &[]));
    for size in [1usize, 3, 4, 7, 40] {
        let pieces: Vec<&[u8]> = call.chunks(size.max(call.len().div_ceil(60))).collect();
        for (i, p) in pieces.iter().enumerate() {
            let last = if i + 1 == pieces.len() { 0x8000_0000 } else { 0 };
            conn.queue_raw(&(last | p.len() as u32).to_be_bytes());
            conn.queue_raw(p);
            conn.flush().unwrap();
        }
        assert_eq!(conn.reply().unwrap().status, RpcStatus::Success, "pieces of {size}");
    }
}
