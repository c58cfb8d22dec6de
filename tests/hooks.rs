//! The hooks of wasm-hooks/ on real pictures and sounds, against what onnxruntime 1.32 gives on the same pixels and samples.
//!
//! Hooks whose model lies in the tree always run. The others run where `scripts/fetch-models` left the model and
//! `scripts/build-hooks --all` the component; with `AERIE_TEST_FETCHED=required` it is a failure when one is missing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aerie::hook::{Grants, HookFault, Trial, TrialObject, TrialReport};
use aerie::inference::ModelFile;
use aerie::seam::real;
use serde_json::{Value, json};

/// Scores are compared to this, boxes to `BOX_TOLERANCE` of a side, times to `TIME_TOLERANCE_S`.
const SCORE_TOLERANCE: f64 = 0.01;
const BOX_TOLERANCE: f64 = 0.02;
const TIME_TOLERANCE_S: f64 = 0.032;

fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(tree(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Whether files that a script brings are there.
fn fetched(paths: &[&str]) -> bool {
    let missing: Vec<_> = paths.iter().filter(|path| !tree(path).exists()).collect();
    let required = std::env::var("AERIE_TEST_FETCHED").is_ok_and(|value| value == "required");
    assert!(missing.is_empty() || !required, "{missing:?}: run scripts/fetch-models and scripts/build-hooks --all");
    missing.is_empty()
}

/// Runs a hook on bytes, with every capability.
fn run(hook: &[u8], bytes: Vec<u8>, key: &str, kind: &str, models: BTreeMap<String, ModelFile>) -> TrialReport {
    let grants = Grants { tags: true, derive: Some(String::new()), ..Grants::default() };
    let trial = Trial::new(hook, grants, models, &real::world()).expect("the hook compiles");
    trial.run(TrialObject {
        bucket: "local".to_owned(),
        key: key.to_owned(),
        bytes,
        content_type: Some(kind.to_owned()),
        ..TrialObject::default()
    })
}

/// Runs a hook on a file of the tree; its one message.
fn message(hook: &str, object: &str, kind: &str, model: Option<(&str, &str)>) -> Value {
    let models = model.map(|(name, path)| {
        let labels = std::fs::read_to_string(tree(path).with_extension("labels")).unwrap_or_default();
        (name.to_owned(), ModelFile { bytes: read(path), labels: labels.lines().map(str::to_owned).collect() })
    });
    let key = object.rsplit('/').next().expect("a split has one part at least");
    let models = models.into_iter().collect::<BTreeMap<_, _>>();
    let report = run(&read(hook), read(object), key, kind, models);
    assert_eq!((&report.fault, report.results.len()), (&None, 1), "{hook} on {object}: {report:?}");
    serde_json::from_slice(&report.results[0].payload).expect("the message is JSON")
}

/// Label, score and box of what is seen in a picture.
type Seen = (&'static str, f64, [u32; 4]);

fn near(is: &Value, should: &Value, tolerance: f64) -> bool {
    match (is.as_f64(), should.as_f64()) {
        (Some(is), Some(should)) => (is - should).abs() <= tolerance,
        _ => false,
    }
}

/// Compares what was seen in a picture with label, score and box of each object.
fn seen(message: &Value, expected: &[Seen]) {
    let objects = message["objects"].as_array().expect("a list of objects");
    assert_eq!(objects.len(), expected.len(), "{message}");
    for (object, (label, score, area)) in objects.iter().zip(expected) {
        assert_eq!(object["label"], *label, "{message}");
        assert!(near(&object["score"], &json!(score), SCORE_TOLERANCE), "{label} {score}: {message}");
        for (at, edge) in area.iter().enumerate() {
            let side = if at % 2 == 0 { &message["width"] } else { &message["height"] };
            let tolerance = BOX_TOLERANCE * side.as_f64().expect("pixels");
            assert!(near(&object["box"][at], &json!(edge), tolerance), "{label} {area:?}: {message}");
        }
    }
}

#[test]
fn faces_are_found_where_they_are_and_nowhere_else() {
    let cases: [(&str, &[Seen]); 3] =
        [("astronaut", &[("Face", 0.922, [177, 80, 95, 95])]), ("chelsea", &[]), ("coffee", &[])];
    for (picture, expected) in cases {
        let object = format!("tests/pictures/{picture}.jpg");
        let model = Some(("faces", "wasm-hooks/models/blazeface.onnx"));
        let message = message("wasm-hooks/built/faces.wasm", &object, "image/jpeg", model);
        seen(&message, expected);
        if !expected.is_empty() {
            let points = &message["objects"][0]["points"];
            let (right, left) = (&points["right_eye"], &points["left_eye"]);
            assert!(near(&right[0], &json!(203), 10.0) && near(&left[0], &json!(247), 10.0), "{message}");
        }
    }
}

#[test]
fn objects_are_named_as_onnxruntime_names_them() {
    let model = ".cache/models/detector.onnx";
    if !fetched(&[model, ".cache/models/detector.labels"]) {
        return;
    }
    let cases = [
        ("astronaut", ("Person", 0.618, [22, 17, 340, 490])),
        ("chelsea", ("Cat", 0.849, [3, 1, 426, 298])),
        ("coffee", ("Coffee cup", 0.537, [146, 18, 212, 251])),
    ];
    for (picture, expected) in cases {
        let object = format!("tests/pictures/{picture}.jpg");
        seen(&message("wasm-hooks/built/detect.wasm", &object, "image/jpeg", Some(("detector", model))), &[expected]);
    }
}

#[test]
fn speech_is_heard_when_onnxruntime_hears_it() {
    let model = ".cache/models/silero-vad.onnx";
    if !fetched(&[model]) {
        return;
    }
    let message =
        message("wasm-hooks/built/voice.wasm", "tests/sounds/announcement.wav", "audio/wav", Some(("voice", model)));
    let expected = [(0.832, 2.688, 0.974), (3.136, 3.776, 0.932), (3.968, 4.672, 0.956)];
    let speech = message["speech"].as_array().expect("a list of stretches");
    assert_eq!(speech.len(), expected.len(), "{message}");
    for (part, (start, end, score)) in speech.iter().zip(expected) {
        let times = near(&part["start"], &json!(start), TIME_TOLERANCE_S + 1e-6)
            && near(&part["end"], &json!(end), TIME_TOLERANCE_S + 1e-6);
        assert!(times && near(&part["score"], &json!(score), SCORE_TOLERANCE), "{start} to {end}: {message}");
    }
}

/// The first numbers of each text's vector, as onnxruntime 1.32 gives them with the reference tokenizer's tokens.
const MEANINGS: [(&str, u64, [f64; 6]); 3] = [
    ("A drone found a person near the river.", 11, [-0.0097, 0.09754, -0.04975, -0.03847, 0.01399, -0.00883]),
    ("Someone was seen by the water, the UAV reports.", 14, [-0.01672, 0.10233, -0.02841, 0.02347, 0.04241, -0.03922]),
    ("The invoice is due at the end of the month.", 15, [-0.05073, 0.05333, -0.00731, -0.02319, -0.07774, -0.01087]),
];
/// Of a number of a vector, and of the product of two vectors: a 7-bit number may be rounded the other way.
const VECTOR_TOLERANCE: f64 = 0.02;

#[test]
fn a_text_becomes_the_vector_that_onnxruntime_gives() {
    let (model, labels) = (".cache/models/minilm.onnx", ".cache/models/minilm.labels");
    if !fetched(&[model, labels]) {
        return;
    }
    let labels = std::fs::read_to_string(tree(labels)).expect("the vocabulary is text");
    let file = ModelFile { bytes: read(model), labels: labels.lines().map(str::to_owned).collect() };
    let embed = read("wasm-hooks/built/embed.wasm");
    let vector = |text: &str, tokens: u64| -> Vec<f64> {
        let models = BTreeMap::from([("minilm".to_owned(), file.clone())]);
        let report = run(&embed, text.into(), "a.txt", "text/plain", models);
        assert_eq!((&report.fault, report.results.len()), (&None, 1), "{text}: {report:?}");
        let message: Value = serde_json::from_slice(&report.results[0].payload).expect("the message is JSON");
        assert_eq!((&message["tokens"], &message["cut"]), (&json!(tokens), &json!(false)), "{text}");
        let numbers = message["embedding"].as_array().expect("a list of numbers").iter();
        numbers.map(|number| number.as_f64().expect("a number")).collect()
    };
    let vectors = MEANINGS.map(|(text, tokens, first)| {
        let found = vector(text, tokens);
        assert_eq!(found.len(), 384);
        for (is, should) in found.iter().zip(first) {
            assert!((is - should).abs() <= VECTOR_TOLERANCE, "{text}: {:?} for {first:?}", &found[..6]);
        }
        found
    });
    let product = |a: usize, b: usize| vectors[a].iter().zip(&vectors[b]).map(|(a, b)| a * b).sum::<f64>();
    for (a, b, expected) in [(0, 0, 1.0), (0, 1, 0.624), (0, 2, 0.067), (1, 2, 0.072)] {
        assert!((product(a, b) - expected).abs() <= VECTOR_TOLERANCE, "{a} and {b}: {}", product(a, b));
    }
}

#[test]
fn digest_says_size_type_and_checksum() {
    let message = message("wasm-hooks/built/digest.wasm", "tests/pictures/coffee.jpg", "image/jpeg", None);
    let fields = [("size", json!(58_744)), ("crc32", json!("2b170f79")), ("content_type", json!("image/jpeg"))];
    for (field, expected) in fields {
        assert_eq!(message[field], expected, "{message}");
    }
}

#[test]
fn an_object_of_the_wrong_kind_fails_for_good_and_says_why() {
    let models = || {
        let model = ModelFile { bytes: read("wasm-hooks/models/blazeface.onnx"), labels: Vec::new() };
        BTreeMap::from([("faces".to_owned(), model)])
    };
    let faces = read("wasm-hooks/built/faces.wasm");
    let cases = [("no picture", models(), "invalid: "), ("no model", BTreeMap::new(), "not found: ")];
    for (case, models, expected) in cases {
        let report = run(&faces, b"not a picture".to_vec(), "a.jpg", "image/jpeg", models);
        let fault = report.fault.expect(case);
        assert!(!fault.retry() && fault.to_string().contains(expected), "{case}: {fault}");
        assert!(report.results.is_empty(), "{case}");
    }
}

/// The component of a template, where `scripts/build-hooks --all` has built it from the template as it is now.
fn built(template: &str) -> Option<Vec<u8>> {
    built_as(template, "")
}

/// Likewise, or with `-fails` the one in whose entry that script has put a line that says `a mistake`.
fn built_as(template: &str, suffix: &str) -> Option<Vec<u8>> {
    let folder = format!(".cache/hooks/{template}{suffix}");
    if !fetched(&[&format!("{folder}/hook.wasm")]) {
        return None;
    }
    let mut sources = vec![(tree("wasm-hooks/wit/hook.wit"), format!("{folder}/wit/hook.wit"))];
    for below in [".", "src"] {
        let from = tree(&format!("wasm-hooks/templates/{template}/{below}"));
        for entry in std::fs::read_dir(&from).into_iter().flatten() {
            let path = entry.expect("the folder can be read").path();
            let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
            sources.extend(path.is_file().then(|| (path, format!("{folder}/{below}/{name}"))));
        }
    }
    let right = |path: PathBuf| {
        let text = std::fs::read_to_string(path).ok()?;
        Some(text.lines().filter(|line| !line.ends_with(" a mistake")).map(str::to_owned).collect::<Vec<_>>())
    };
    let same = |(from, to): &(PathBuf, String)| right(from.clone()) == right(tree(to));
    let is_new = sources.iter().all(same);
    let required = std::env::var("AERIE_TEST_FETCHED").is_ok_and(|value| value == "required");
    assert!(is_new || !required, "{template} was built from another source: run scripts/build-hooks --all");
    is_new.then(|| read(&format!("{folder}/hook.wasm")))
}

const LANGUAGES: [&str; 4] = ["rust", "c", "js", "python"];

#[test]
fn the_smallest_hook_does_the_same_in_every_language() {
    let picture = read("tests/pictures/coffee.jpg");
    // Longer than the pieces that it is read in.
    let log = "a line of a log\n".repeat(100_000);
    for language in LANGUAGES {
        let Some(hook) = built(language) else { continue };
        for (key, bytes, lines) in [
            ("coffee.jpg", picture.clone(), picture.iter().filter(|byte| **byte == b'\n').count()),
            ("\"quoted\".log", log.clone().into_bytes(), 100_000),
            ("empty", Vec::new(), 0),
        ] {
            let size = bytes.len();
            let report = run(&hook, bytes, key, "text/plain", BTreeMap::new());
            assert_eq!((&report.fault, report.results.len()), (&None, 1), "{language} on {key}: {report:?}");
            let message: Value = serde_json::from_slice(&report.results[0].payload).expect("the message is JSON");
            assert_eq!(message, json!({ "key": key, "size": size, "lines": lines }), "{language}");
        }
    }
}

/// A guest that traps tells nothing but `unreachable`: what it was, and where, comes from the guest itself.
#[test]
fn a_mistake_is_told_with_its_place_in_every_language() {
    for (language, source, told) in [
        ("rust", "src/lib.rs", "panicked at src/lib.rs:LINE:"),
        ("c", "hook.c", "assertion failed: event->size > 1000000, at hook.c:LINE in exports_hook_on_event"),
        ("js", "hook.js", "TypeError: cannot read property 'more' of undefined, at <anonymous> (/hook.js:LINE:"),
        ("python", "hook.py", "AttributeError: 'Event' object has no attribute 'nothing' (hook.py:LINE in on_event)"),
    ] {
        let Some(hook) = built_as(language, "-fails") else { continue };
        let source = std::fs::read_to_string(tree(&format!(".cache/hooks/{language}-fails/{source}"))).unwrap();
        let line = source.lines().position(|line| line.ends_with(" a mistake")).expect("it was built with it") + 1;
        let fault = run(&hook, b"text".to_vec(), "a.txt", "text/plain", BTreeMap::new()).fault.expect(language);
        assert!(fault.to_string().contains(&told.replace("LINE", &line.to_string())), "{language}: {fault}");
        assert!(fault.retry(), "{language}: a mistake may be one of the moment");
    }
}

#[test]
fn the_smallest_transform_does_the_same_in_every_language() {
    let picture = read("tests/pictures/coffee.jpg");
    for language in LANGUAGES {
        if let Some(transform) = built(&format!("{language}-transform")) {
            let report = run(&transform, picture.clone(), "coffee.jpg", "image/jpeg", BTreeMap::new());
            let made = report.transformed.unwrap_or_else(|| panic!("{language}: {:?}", report.fault));
            assert_eq!(made.content_type.as_deref(), Some("image/jpeg"), "{language}");
            assert!(made.bytes == picture[..1024], "{language}: {} bytes", made.bytes.len());
        }
    }
}

/// A component of the first contract, as it was released, beside the same hook of this one: ranges against a stream.
#[test]
fn a_hook_of_contract_1_0_0_runs_and_finds_what_one_of_this_contract_finds() {
    let bytes: Vec<u8> = (0..20_000_003u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let crc = |hook: &str| {
        let grants = Grants { memory_bytes: Some(4 << 20), deadline_ms: Some(60_000), ..Grants::default() };
        let trial = Trial::new(&read(hook), grants, BTreeMap::new(), &real::world()).expect("the hook compiles");
        let report = trial.run(TrialObject { key: "large".to_owned(), bytes: bytes.clone(), ..TrialObject::default() });
        assert_eq!(report.fault, None, "{hook}: the object is five times as large as the memory");
        let message: Value = serde_json::from_slice(&report.results[0].payload).expect("the message is JSON");
        assert_eq!(message["size"], json!(bytes.len()), "{hook}");
        message["crc32"].clone()
    };
    let old = crc("tests/golden/hook/digest-1.0.0.wasm");
    assert_eq!(crc("wasm-hooks/built/digest.wasm"), old);
    assert_ne!(old, json!("00000000"));
}

#[test]
fn a_trial_keeps_the_servers_limits_and_tells_what_would_be_written() {
    let models = || {
        let model = ModelFile { bytes: read("wasm-hooks/models/blazeface.onnx"), labels: Vec::new() };
        BTreeMap::from([("faces".to_owned(), model)])
    };
    let faces = read("wasm-hooks/built/faces.wasm");
    let report = run(&faces, read("tests/pictures/astronaut.jpg"), "a.jpg", "image/jpeg", models());
    assert_eq!((report.fault, report.changes), (None, vec!["tag seen=Face".to_owned()]));
    let usage = report.usage;
    assert_eq!((usage.messages, usage.output_bytes), (1, report.results[0].payload.len() as u64));
    assert!(usage.memory_bytes > 1 << 16 && usage.inference_us > 0 && usage.inference_us <= report.duration_us);

    let trial = |grants: Grants| Trial::new(&faces, grants, models(), &real::world());
    let picture = || TrialObject { bytes: read("tests/pictures/astronaut.jpg"), ..TrialObject::default() };
    let small = trial(Grants { memory_bytes: Some(1 << 20), ..Grants::default() }).expect("it compiles");
    assert_eq!(small.run(picture()).fault, Some(HookFault::Memory { limit_bytes: 1 << 20 }));
    let quiet = trial(Grants { output_bytes: Some(100), ..Grants::default() }).expect("it compiles");
    assert_eq!(quiet.run(picture()).fault, Some(HookFault::Output { limit_bytes: 100 }));
    assert!(trial(Grants { memory_bytes: Some(1 << 40), ..Grants::default() }).is_err());
}

#[test]
fn a_thumbnail_is_a_small_png_of_the_same_shape() {
    let thumbnail = read("wasm-hooks/built/thumbnail.wasm");
    for (picture, size) in [("astronaut", (256, 256)), ("coffee", (256, 170)), ("chelsea", (256, 170))] {
        let bytes = read(&format!("tests/pictures/{picture}.jpg"));
        let original = image::load_from_memory(&bytes).expect("a picture").to_rgb8();
        let report = run(&thumbnail, bytes, "a.jpg", "image/jpeg", BTreeMap::new());
        let made = report.transformed.unwrap_or_else(|| panic!("{picture}: {:?}", report.fault));
        assert_eq!(made.content_type.as_deref(), Some("image/png"));
        let small = image::load_from_memory_with_format(&made.bytes, image::ImageFormat::Png).expect("a PNG").to_rgb8();
        assert_eq!(small.dimensions(), size, "{picture} of {:?}", original.dimensions());
        // It is the same picture: the mean of each channel stays.
        for channel in 0..3 {
            let mean = |picture: &image::RgbImage| {
                let pixels = picture.pixels().map(|pixel| f64::from(pixel.0[channel]));
                pixels.sum::<f64>() / f64::from(picture.width() * picture.height())
            };
            assert!((mean(&small) - mean(&original)).abs() < 2.0, "{picture}: channel {channel}");
        }
    }
    let report = run(&thumbnail, b"no picture".to_vec(), "a.txt", "text/plain", BTreeMap::new());
    assert!(report.fault.is_some_and(|fault| !fault.retry()));
}
