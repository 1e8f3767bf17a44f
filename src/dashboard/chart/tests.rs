//! What is drawn, to the letter; and for any numbers: it is well-formed, and stays inside the picture.

use proptest::prelude::*;

use super::*;

const WORDS: Words<'static> = Words { id: "p1", title: "Deliveries", description: "Hour by hour" };

fn plain(value: f64) -> String {
    value.to_string()
}

fn axes<'a>(ticks: &'a [Tick<'a>]) -> Axes<'a> {
    Axes { ticks, value: &plain }
}

/// One element a line.
fn apart(svg: &str) -> String {
    svg.replace("><", ">\n<")
}

#[test]
fn bars_stand_on_each_other() {
    let series = [Bars { class: "c-ok", counts: &[3, 0, 10] }, Bars { class: "c-bad", counts: &[1, 0, 0] }];
    let svg = bars(WORDS, Size { width: 200, height: 100 }, &series, axes(&[Tick { at: 1, text: "09:00" }]));
    assert_eq!(
        apart(&svg),
        r#"<svg class="chart bars" role="img" aria-labelledby="p1-title p1-desc" width="200" height="100" viewBox="0 0 200 100" xmlns="http://www.w3.org/2000/svg">
<title id="p1-title">Deliveries</title>
<desc id="p1-desc">Hour by hour</desc>
<path class="grid" d="M48 80H192M48 44H192M48 8H192"/>
<g class="labels" font-size="11">
<text x="42" y="84" text-anchor="end">0</text>
<text x="42" y="48" text-anchor="end">5</text>
<text x="42" y="12" text-anchor="end">10</text>
<text x="120" y="95" text-anchor="middle">09:00</text>
</g>
<path class="c-ok" d="M52.8 80V58.4h38.4V80zM148.8 80V8h38.4V80z"/>
<path class="c-bad" d="M52.8 58.4V51.2h38.4V58.4z"/>
</svg>"#
    );
}

#[test]
fn lines_have_gaps_where_nothing_is_known() {
    let values = [Some(1.0), Some(2.0), None, Some(4.0), None, Some(f64::NAN)];
    let series = [Line { class: "c-p99", values: &values, area: true }];
    let ticks = [Tick { at: 0, text: "00" }, Tick { at: 5, text: "05" }, Tick { at: 6, text: "not there" }];
    let svg = lines(WORDS, Size { width: 176, height: 68 }, &series, axes(&ticks));
    assert_eq!(
        apart(&svg),
        r#"<svg class="chart lines" role="img" aria-labelledby="p1-title p1-desc" width="176" height="68" viewBox="0 0 176 68" xmlns="http://www.w3.org/2000/svg">
<title id="p1-title">Deliveries</title>
<desc id="p1-desc">Hour by hour</desc>
<path class="grid" d="M44 51H168M44 29.5H168M44 8H168"/>
<g class="labels" font-size="11">
<text x="38" y="55" text-anchor="end">0</text>
<text x="38" y="33.5" text-anchor="end">2</text>
<text x="38" y="12" text-anchor="end">4</text>
<text x="54.3" y="66" text-anchor="middle">00</text>
<text x="157.7" y="66" text-anchor="end">05</text>
</g>
<path class="c-p99 area" d="M54.3 40.3L75 29.5L75 51L54.3 51zM115.3 51V8H117.3V51z"/>
<path class="c-p99 line" d="M54.3 40.3L75 29.5M115.3 8H117.3"/>
</svg>"#
    );
}

#[test]
fn a_sparkline_fills_its_place() {
    let svg = spark(WORDS, Size { width: 42, height: 12 }, "c-ok", &[0, 5, 10, 0]);
    assert_eq!(
        apart(&svg),
        r#"<svg class="spark" role="img" aria-labelledby="p1-title p1-desc" width="42" height="12" viewBox="0 0 42 12" xmlns="http://www.w3.org/2000/svg">
<title id="p1-title">Deliveries</title>
<desc id="p1-desc">Hour by hour</desc>
<path class="c-ok line" d="M6 11L16 6L26 1L36 11"/>
</svg>"#
    );
}

#[test]
fn one_failure_among_thousands_is_seen_and_nothing_is_too_high() {
    let series = [Bars { class: "c-ok", counts: &[1_000_000] }, Bars { class: "c-bad", counts: &[1] }];
    let svg = bars(WORDS, Size { width: 100, height: 100 }, &series, axes(&[]));
    let heads = |class: &str| {
        let path = svg.split(&format!("class=\"{class}\" d=\"M")).nth(1).unwrap().split('"').next().unwrap();
        let foot: f64 = path.split(['V', ' ']).nth(1).unwrap().parse().unwrap();
        let head: f64 = path.split('V').nth(1).unwrap().split('h').next().unwrap().parse().unwrap();
        (foot, head)
    };
    let (ok, bad) = (heads("c-ok"), heads("c-bad"));
    assert!((bad.0 - bad.1 - LEAST).abs() < 0.01, "{svg}");
    assert!((ok.1 - bad.0).abs() < 0.01 && bad.1 >= TOP, "{svg}");
    // Exactly as much as the scale has: the least height is taken from the highest bar.
    let heights = heights(&[999.0, 1.0], Scale::of(1000.0), 80.0);
    assert_eq!(heights, [79.0, 1.0]);
}

#[test]
fn without_anything_there_are_axes_and_no_path() {
    for counts in [&[][..], &[0, 0][..]] {
        let svg = bars(WORDS, Size { width: 100, height: 60 }, &[Bars { class: "c-ok", counts }], axes(&[]));
        assert!(svg.contains("class=\"grid\"") && !svg.contains("c-ok"), "{svg}");
        well_formed(&svg);
    }
    well_formed(&spark(WORDS, Size { width: 0, height: 0 }, "c-ok", &[]));
    well_formed(&lines(WORDS, Size { width: 1, height: 1 }, &[], axes(&[])));
}

#[test]
fn scales_are_round() {
    let top = |highest: f64| Scale::of(highest).0;
    assert_eq!([0.0, 1.0, 3.0, 7.0, 10.0, 11.0, 999.0].map(top).to_vec(), [1.0, 1.0, 3.0, 8.0, 10.0, 15.0, 1000.0]);
    assert_eq!((Scale::of(3.0).marks(true), Scale::of(30.0).marks(true)), (vec![0.0, 3.0], vec![0.0, 15.0, 30.0]));
    assert_eq!((Scale::of(1.0).marks(true), Scale::of(1.0).marks(false)), (vec![0.0, 1.0], vec![0.0, 0.5, 1.0]));
}

#[test]
fn a_week_in_four_series_is_small() {
    let counts: Vec<Vec<u64>> =
        (0..4_u64).map(|one| (0..168_u64).map(|hour| 1 + (hour * 7919 + one * 104_729) % 9973).collect()).collect();
    let series: Vec<_> = counts.iter().map(|counts| Bars { class: "c-retry", counts }).collect();
    let ticks: Vec<_> = (0..7).map(|day| Tick { at: day * 24, text: "Mon 23" }).collect();
    let svg = bars(WORDS, Size { width: 960, height: 240 }, &series, axes(&ticks));
    assert!(svg.len() < 25 * 1024, "{} bytes", svg.len());
}

#[test]
fn words_cannot_leave_their_place() {
    let nasty = "\"><script>'&\0\u{b}\n";
    let words = Words { id: nasty, title: nasty, description: nasty };
    let size = Size { width: 100, height: 60 };
    let say = |_: f64| nasty.to_owned();
    let axes = Axes { ticks: &[Tick { at: 0, text: nasty }], value: &say };
    for svg in [
        bars(words, size, &[Bars { class: nasty, counts: &[1] }], axes),
        lines(words, size, &[Line { class: nasty, values: &[Some(1.0)], area: true }], axes),
        spark(words, size, nasty, &[1]),
    ] {
        assert!(!svg.contains("<script") && !svg.contains(['\0', '\u{b}', '\n', '\'']), "{svg}");
        well_formed(&svg);
    }
}

/// Reads the picture as XML, without the reader of any browser: every element is closed, every attribute quoted, nothing
/// stands outside. Answers the paths.
fn well_formed(svg: &str) -> Vec<String> {
    let (mut open, mut paths, mut rest) = (Vec::new(), Vec::new(), svg);
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains('>'), "a loose `>`: {svg}");
        assert!(start == 0 || !open.is_empty(), "text outside: {svg}");
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "{svg}");
            continue;
        }
        let (tag, is_closed) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        let mut parts = attributes.split('"');
        while let Some(before) = parts.next().filter(|before| !before.trim().is_empty()) {
            let key = before.trim().strip_suffix('=').expect("a name and a value");
            assert!(key.chars().all(|letter| letter.is_ascii_alphabetic() || letter == '-'), "{key}: {svg}");
            assert!(key != "style" && !key.starts_with("on"), "{svg}");
            let value = parts.next().expect("a quoted value");
            if key == "d" {
                paths.push(value.to_owned());
            }
        }
        if !is_closed {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty() && rest.is_empty(), "{open:?} {rest}");
    for (at, _) in svg.match_indices('&') {
        let named = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
        assert!(named.iter().any(|name| svg[at..].starts_with(name)), "{svg}");
    }
    paths
}

/// Follows a path; every point has to be inside.
fn stays_inside(path: &str, size: Size) {
    let mut at = (0.0, 0.0);
    let mut rest = path;
    while let Some(command) = rest.chars().next() {
        let end = rest[1..].find(|letter: char| letter.is_ascii_alphabetic()).map_or(rest.len(), |end| end + 1);
        let numbers: Vec<f64> =
            rest[1..end].split(' ').filter(|text| !text.is_empty()).map(|text| text.parse().expect(text)).collect();
        at = match (command, &numbers[..]) {
            ('M' | 'L', [x, y]) => (*x, *y),
            ('H', [x]) => (*x, at.1),
            ('h', [wide]) => (at.0 + wide, at.1),
            ('V', [y]) => (at.0, *y),
            ('z', []) => at,
            other => panic!("{other:?} in {path}"),
        };
        let (width, height) = (f64::from(size.width) + 0.11, f64::from(size.height) + 0.11);
        assert!((-0.11..=width).contains(&at.0) && (-0.11..=height).contains(&at.1), "{at:?} of {size:?} in {path}");
        rest = &rest[end..];
    }
}

fn any_counts() -> impl Strategy<Value = Vec<u64>> {
    let count = prop_oneof![Just(0), Just(1), 0..1000_u64, any::<u64>(), Just(u64::MAX)];
    proptest::collection::vec(count, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_the_numbers_are_the_picture_is_whole(
        counts in proptest::collection::vec(any_counts(), 0..5),
        values in proptest::collection::vec(proptest::option::of(any::<f64>()), 0..200),
        (width, height) in (0..2000_u16, 0..600_u16),
        text in any::<String>(),
    ) {
        let size = Size { width, height };
        let words = Words { id: &text, title: &text, description: &text };
        let ticks = [Tick { at: 0, text: &text }, Tick { at: 100, text: &text }];
        let series: Vec<_> = counts.iter().map(|counts| Bars { class: &text, counts }).collect();
        let one = [Line { class: &text, values: &values, area: true }];
        let first = counts.first().map_or(&[][..], |counts| counts);
        let axes = Axes { ticks: &ticks, value: &plain };
        for svg in [bars(words, size, &series, axes), lines(words, size, &one, axes), spark(words, size, &text, first)] {
            for path in well_formed(&svg) {
                stays_inside(&path, size);
            }
        }
    }
}
