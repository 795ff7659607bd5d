//! Files in all the shapes and encodings that tools write.

use super::*;

#[test]
fn several_documents_lists_in_lists_and_values_in_a_row_are_one_inventory() {
    let whole = parsed(CLUSTER).unwrap();
    let json = cluster_json();
    let items = json["items"].as_array().unwrap();
    let list =
        |items: &[serde_json::Value]| serde_json::json!({"kind": "List", "apiVersion": "v1", "items": items});
    let (first, rest) = items.split_at(3);
    let pretty = |value: &serde_json::Value| serde_json::to_string_pretty(value).unwrap();
    let lines =
        |items: &[serde_json::Value]| items.iter().map(|item| format!("{item}\n")).collect::<String>();
    let documents =
        |items: &[serde_json::Value]| items.iter().map(|item| format!("---\n{item}\n")).collect::<String>();
    let texts = [
        lines(items),
        lines(items).replace('\n', "\r\n"),
        documents(items),
        format!("# made by hand\n{}...\n", documents(items)),
        format!("{}\n{}\n", pretty(&list(first)), pretty(&list(rest))),
        format!("{}{}", list(first), list(rest)),
        format!("---\n{}\n---\n{}\n---\n", list(first), list(rest)),
        list(&[list(first), list(&[list(rest)])]).to_string(),
        // Lists that overlap say the same twice.
        format!("{}\n{}\n", list(items), list(rest)),
        serde_json::to_string(items).unwrap(),
        CLUSTER.replace('\n', "\r\n"),
    ];
    for text in texts {
        let objects = parsed(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(objects.roster(), whole.roster(), "{text}");
        assert_eq!(objects.left_out, whole.left_out, "{text}");
    }
    // A broken one costs itself.
    let broken = format!("{}{{\"kind\": \"Pod\", \"metadata\": \n{}", lines(first), lines(rest));
    let documents = format!("{}---\nkind: [\n{}", documents(first), documents(rest));
    for text in [broken, documents] {
        let objects = parsed(&text).unwrap();
        assert_eq!(objects.roster(), whole.roster(), "{text}");
        assert_eq!(objects.left_out.count, 1, "{:?}", objects.left_out);
        assert!(objects.left_out.lines[0].starts_with("document 4 is broken: "), "{:?}", objects.left_out);
    }
}

#[test]
fn files_are_read_in_whatever_encoding_tools_write() {
    use std::io::Write as _;
    let folder = tempfile::tempdir().unwrap();
    let whole = parsed(CLUSTER).unwrap().roster();
    let gzip = |bytes: &[u8]| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    };
    for text in [CLUSTER.to_owned(), CLUSTER.replace('\n', "\r\n"), cluster_json().to_string()] {
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let all = [
            text.clone().into_bytes(),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            [b"\xff\xfe".as_slice(), &little].concat(),
            [b"\xfe\xff".as_slice(), &big].concat(),
            little.clone(),
            big,
            gzip(text.as_bytes()),
            [gzip(text.as_bytes()), gzip(b"\n")].concat(),
            gzip(&[b"\xff\xfe".as_slice(), &little].concat()),
        ];
        for (index, bytes) in all.into_iter().enumerate() {
            let path = folder.path().join("inventory");
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(
                read(&path).unwrap_or_else(|error| panic!("{index}: {error}")).roster(),
                whole,
                "{index}"
            );
        }
    }
    let path = folder.path().join("inventory");
    std::fs::write(&path, &gzip(CLUSTER.as_bytes())[..100]).unwrap();
    assert!(matches!(read(&path), Err(InventoryError::Encoding { .. })));
    // A byte that is no UTF-8 costs its object at most.
    let text = CLUSTER.replacen("name: web-1,", "name: web\u{1}1,", 1);
    let bytes: Vec<u8> = text.bytes().map(|byte| if byte == 1 { 0xff } else { byte }).collect();
    std::fs::write(&path, bytes).unwrap();
    let objects = read(&path).unwrap();
    assert_eq!((objects.pods.len(), objects.left_out.count), (3, 1), "{:?}", objects.left_out);
}
