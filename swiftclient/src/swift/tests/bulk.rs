use super::{
    super::{
        bulk::{Fate, Info, body, fates, quoted},
        place::Place,
    },
    fake::bulk_answer,
};

fn place(container: &str, object: &str) -> Place {
    Place { container: container.into(), object: object.into() }
}

fn three() -> Vec<Place> {
    vec![place("c", "p/a"), place("c ü", "p/b"), place("c_seg_0_000001", "p/seg/c/1/2")]
}

#[test]
fn the_body_is_one_encoded_path_a_line() {
    assert_eq!(body(&three()), "/c/p/a\n/c%20%C3%BC/p/b\n/c_seg_0_000001/p/seg/c/1/2\n");
    assert_eq!(body(&[]), "");
    assert_eq!(quoted("a/b-c_d.e~f?g#h%i&j=k+l\n"), "a/b-c_d.e~f%3Fg%23h%25i%26j%3Dk%2Bl%0A");
}

#[test]
fn each_object_has_its_own_fate() {
    let places = three();
    let told = |status: &str, deleted, absent, errors: &[(&str, &str)]| {
        fates(&places, bulk_answer(status, deleted, absent, errors).as_bytes()).unwrap()
    };
    assert_eq!(told("200 OK", 2, 1, &[]), [Fate::Gone, Fate::Gone, Fate::Gone]);
    // As the middleware writes it: encoded, with its first slash.
    let errors = [("/c%20%C3%BC/p/b", "403 Forbidden")];
    let refused = Fate::Refused("403 Forbidden".into());
    assert_eq!(told("400 Bad Request", 1, 1, &errors), [Fate::Gone, refused, Fate::Gone]);
    // It stopped half-way: who was deleted is not said.
    let unfinished = told("502 Bad Gateway", 1, 0, &errors);
    assert_eq!((&unfinished[0], &unfinished[2]), (&Fate::Open, &Fate::Open));
    assert_eq!(told("401 Unauthorized", 0, 0, &[]), [Fate::Open, Fate::Open, Fate::Open]);
    for other in ["", "{}", "<html>", "Number Deleted: 3"] {
        assert_eq!(fates(&places, other.as_bytes()), None, "{other}");
    }
}

#[test]
fn the_servers_limits_are_kept() {
    let most = Info { listing: 10_000, deletes: 1000, one_policy: false };
    let read = |text: &str| {
        let info = Info::read(text.as_bytes(), most);
        (info.listing, info.deletes)
    };
    let told = r#"{"swift": {"container_listing_limit": 500},
        "bulk_delete": {"max_deletes_per_request": 100}}"#;
    assert_eq!(read(told), (500, 100));
    let more = r#"{"swift": {"container_listing_limit": 50000},
        "bulk_delete": {"max_deletes_per_request": 10000}}"#;
    assert_eq!(read(more), (10_000, 1000));
    assert_eq!(read(r#"{"swift": {}, "bulk_delete": {}}"#), (10_000, 1000));
    assert_eq!(read(r#"{"swift": {}}"#), (10_000, 0));
    assert_eq!(read("<html>"), (10_000, 1000));
    let policies = |text: &str| {
        let info = format!(r#"{{"swift": {{"policies": [{text}]}}}}"#);
        Info::read(info.as_bytes(), most).one_policy
    };
    assert!(policies(r#"{"name": "gold", "default": true}"#));
    assert!(!policies(r#"{"name": "gold"}, {"name": "silver"}"#));
    assert!(!policies("") && !Info::read(b"{}", most).one_policy);
}
