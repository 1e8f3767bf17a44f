//! Pictures of numbers: inline SVG, drawn from plain numbers.
//!
//! A picture works under a strict content security policy: it has classes, no style and no script, and the style sheet gives
//! the colours. It has the size that its attributes say, so a page does not move while it loads. It reads as one image with
//! a title and a description, which the caller writes; the numbers themselves belong into a table beside it. All words come
//! from the caller, in its language, and are escaped here.
//!
//! Each series is one path, so a week of hours in four series is a few kilobytes. Coordinates have one decimal.

use std::fmt::Write as _;

/// The room on the left for the labels of the grid.
const LEFT: f64 = 48.0;
/// The room on the right.
const RIGHT: f64 = 8.0;
/// The room above.
const TOP: f64 = 8.0;
/// The room below for the labels of the hours.
const BOTTOM: f64 = 20.0;
/// The least height of a bar, so that one failure among thousands is seen.
const LEAST: f64 = 1.0;
/// The largest value that is drawn; whatever is larger is drawn like it.
const MOST: f64 = 1e18;

/// What the picture is called and says, for those who do not see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'a> {
    /// Unique on the page; the ids of title and description begin with it.
    pub id: &'a str,
    /// The name of the picture.
    pub title: &'a str,
    /// What can be seen, in a sentence.
    pub description: &'a str,
}

/// The size in pixels, which is also that of the view box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// From left to right.
    pub width: u16,
    /// From top to bottom.
    pub height: u16,
}

/// A label on the axis of the hours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tick<'a> {
    /// The place of its value, from 0.
    pub at: usize,
    /// The words.
    pub text: &'a str,
}

/// The axes of a picture.
#[derive(Clone, Copy)]
pub(super) struct Axes<'a> {
    /// The labels of the hours.
    pub ticks: &'a [Tick<'a>],
    /// Writes a value of the grid, as the page's language does.
    pub value: &'a dyn Fn(f64) -> String,
}

impl std::fmt::Debug for Axes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Axes").field("ticks", &self.ticks).finish_non_exhaustive()
    }
}

/// Counts of one kind, one for each hour.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bars<'a> {
    /// The class of the path, such as `c-ok`.
    pub class: &'a str,
    /// The counts.
    pub counts: &'a [u64],
}

/// A line of values, one for each hour.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    /// The class of the path, such as `c-p99`.
    pub class: &'a str,
    /// The values; `None` (and what is no number, or negative) interrupts the line.
    pub values: &'a [Option<f64>],
    /// Whether the area below the line is drawn as well, as a path of its own with the further class `area`.
    pub area: bool,
}

/// Draws stacked bars: the first series stands at the bottom.
pub(super) fn bars(words: Words<'_>, size: Size, series: &[Bars<'_>], axes: Axes<'_>) -> String {
    let plot = Plot::with_axes(size);
    let places = series.iter().map(|one| one.counts.len()).max().unwrap_or_default();
    let stacks: Vec<Vec<f64>> =
        (0..places).map(|at| series.iter().map(|one| drawn(one.counts.get(at).copied())).collect()).collect();
    let highest = stacks.iter().map(|stack| stack.iter().sum::<f64>()).fold(0.0, f64::max);
    let scale = Scale::of(highest);
    let mut paths = vec![String::new(); series.len()];
    let step = plot.step(places);
    let width = (step * 0.8).max(0.1);
    for (at, stack) in stacks.iter().enumerate() {
        let left = plot.left + step * usize_to_f64(at) + (step - width) / 2.0;
        let mut foot = plot.bottom;
        for (height, path) in heights(stack, scale, plot.height()).into_iter().zip(&mut paths) {
            if height <= 0.0 {
                continue;
            }
            let head = (foot - height).max(plot.top);
            let (x, y, end, wide) = (tenth(left), tenth(foot), tenth(head), tenth(width));
            let _ = write!(path, "M{x} {y}V{end}h{wide}V{y}z");
            foot = head;
        }
    }
    let mut svg = open(words, size, "chart bars");
    plot.draw_axes(&mut svg, scale, places, axes, true);
    for (one, path) in series.iter().zip(paths) {
        draw_path(&mut svg, one.class, &path);
    }
    svg.push_str("</svg>");
    svg
}

/// Draws lines, each with the area below it if it is wanted. All have one scale.
pub(super) fn lines(words: Words<'_>, size: Size, series: &[Line<'_>], axes: Axes<'_>) -> String {
    let plot = Plot::with_axes(size);
    let places = series.iter().map(|one| one.values.len()).max().unwrap_or_default();
    let scale =
        Scale::of(series.iter().flat_map(|one| one.values).filter_map(|value| usable(*value)).fold(0.0, f64::max));
    let mut svg = open(words, size, "chart lines");
    plot.draw_axes(&mut svg, scale, places, axes, false);
    for one in series {
        let (line, area) = plot.line(one.values, places, scale);
        if one.area {
            draw_path(&mut svg, &format!("{} area", one.class), &area);
        }
        draw_path(&mut svg, &format!("{} line", one.class), &line);
    }
    svg.push_str("</svg>");
    svg
}

/// Draws a line without axes, to stand in a row of a table.
pub(super) fn spark(words: Words<'_>, size: Size, class: &str, counts: &[u64]) -> String {
    let (width, height) = (f64::from(size.width), f64::from(size.height));
    let room = 1.0_f64.min(width / 4.0).min(height / 4.0);
    let plot = Plot { left: room, top: room, right: width - room, bottom: height - room };
    let values: Vec<_> = counts.iter().map(|count| Some(drawn(Some(*count)))).collect();
    let highest = values.iter().flatten().copied().fold(0.0, f64::max);
    // As high as the picture: there is no grid to which a round number would belong.
    let (line, _) = plot.line(&values, values.len(), Scale(highest.max(1.0)));
    let mut svg = open(words, size, "spark");
    draw_path(&mut svg, &format!("{class} line"), &line);
    svg.push_str("</svg>");
    svg
}

/// The part of the picture in which values are drawn.
#[derive(Debug, Clone, Copy)]
struct Plot {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl Plot {
    fn with_axes(size: Size) -> Self {
        let (width, height) = (f64::from(size.width), f64::from(size.height));
        // A picture that is too small for its labels keeps some room for its values.
        let left = LEFT.min(width / 4.0);
        let right = width - RIGHT.min(width / 4.0);
        Self { left, top: TOP.min(height / 4.0), right, bottom: height - BOTTOM.min(height / 4.0) }
    }

    fn height(&self) -> f64 {
        self.bottom - self.top
    }

    fn step(&self, places: usize) -> f64 {
        (self.right - self.left) / usize_to_f64(places.max(1))
    }

    /// The middle of a place.
    fn x(&self, at: usize, places: usize) -> f64 {
        (self.left + self.step(places) * (usize_to_f64(at) + 0.5)).min(self.right)
    }

    fn y(&self, value: f64, scale: Scale) -> f64 {
        (self.bottom - scale.part(value) * self.height()).clamp(self.top, self.bottom)
    }

    /// The grid with its values, and the labels of the hours.
    fn draw_axes(&self, svg: &mut String, scale: Scale, places: usize, axes: Axes<'_>, is_counts: bool) {
        let (left, right) = (tenth(self.left), tenth(self.right));
        svg.push_str("<path class=\"grid\" d=\"");
        let marks = scale.marks(is_counts);
        for mark in &marks {
            let _ = write!(svg, "M{left} {}H{right}", tenth(self.y(*mark, scale)));
        }
        svg.push_str("\"/><g class=\"labels\" font-size=\"11\">");
        for mark in marks {
            // The middle of the digits stands at the line.
            let _ = write!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
                tenth((self.left - 6.0).max(0.0)),
                tenth(self.y(mark, scale) + 4.0),
                escaped(&(axes.value)(mark))
            );
        }
        for tick in axes.ticks.iter().filter(|tick| tick.at < places) {
            let x = self.x(tick.at, places);
            // Labels at the ends stay inside.
            let anchor = if x > self.right - 16.0 { "end" } else { "middle" };
            let _ = write!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
                tenth(x),
                tenth(self.bottom + BOTTOM * 0.75),
                escaped(tick.text)
            );
        }
        svg.push_str("</g>");
    }

    /// A path along the values, and the one around the area below them.
    fn line(&self, values: &[Option<f64>], places: usize, scale: Scale) -> (String, String) {
        let (mut line, mut area) = (String::new(), String::new());
        let points: Vec<_> = (values.iter().enumerate())
            .map(|(at, value)| usable(*value).map(|value| (self.x(at, places), self.y(value, scale))))
            .collect();
        for run in points.split(Option::is_none) {
            let run: Vec<_> = run.iter().flatten().collect();
            let (Some((first, _)), Some((last, _))) = (run.first(), run.last()) else { continue };
            if let [(x, y)] = run[..] {
                // A point alone is a short stroke, or it would not be seen.
                let (from, to) = ((x - 1.0).max(self.left), (x + 1.0).min(self.right));
                let _ = write!(line, "M{} {}H{}", tenth(from), tenth(*y), tenth(to));
                let floor = tenth(self.bottom);
                let _ = write!(area, "M{} {floor}V{}H{}V{floor}z", tenth(from), tenth(*y), tenth(to));
                continue;
            }
            let mut path = String::new();
            for (place, (x, y)) in run.iter().enumerate() {
                let _ = write!(path, "{}{} {}", if place == 0 { "M" } else { "L" }, tenth(*x), tenth(*y));
            }
            let floor = tenth(self.bottom);
            let _ = write!(area, "{path}L{} {floor}L{} {floor}z", tenth(*last), tenth(*first));
            line.push_str(&path);
        }
        (line, area)
    }
}

/// The value at the top of the picture.
#[derive(Debug, Clone, Copy)]
struct Scale(f64);

impl Scale {
    /// A round number at least as large.
    fn of(highest: f64) -> Self {
        let mut unit = 1.0;
        while unit * 10.0 < highest {
            unit *= 10.0;
        }
        let digits = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
        let round = digits.into_iter().map(|digit| digit * unit).find(|top| *top >= highest);
        Self(round.unwrap_or(unit * 10.0))
    }

    fn part(self, value: f64) -> f64 {
        (value / self.0).clamp(0.0, 1.0)
    }

    /// The values of the grid. Half a count is none.
    fn marks(self, is_counts: bool) -> Vec<f64> {
        let half = self.0 / 2.0;
        if is_counts && half.fract() != 0.0 { vec![0.0, self.0] } else { vec![0.0, half, self.0] }
    }
}

/// The heights of a stack. Whatever is not zero is seen; where that would make the stack too high, the highest gives way.
fn heights(stack: &[f64], scale: Scale, room: f64) -> Vec<f64> {
    let height = |value: &f64| if *value > 0.0 { (scale.part(*value) * room).max(LEAST) } else { 0.0 };
    let mut heights: Vec<_> = stack.iter().map(height).collect();
    let excess = heights.iter().sum::<f64>() - room;
    if excess > 0.0
        && let Some(highest) = heights.iter_mut().max_by(|one, other| one.total_cmp(other))
    {
        *highest = (*highest - excess).max(0.0);
    }
    heights
}

/// The beginning of a picture, with its words.
fn open(words: Words<'_>, size: Size, class: &str) -> String {
    let Size { width, height } = size;
    let (id, title, description) = (escaped(words.id), escaped(words.title), escaped(words.description));
    format!(
        "<svg class=\"{class}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\" width=\"{width}\" \
         height=\"{height}\" viewBox=\"0 0 {width} {height}\" xmlns=\"http://www.w3.org/2000/svg\">\
         <title id=\"{id}-title\">{title}</title><desc id=\"{id}-desc\">{description}</desc>"
    )
}

/// A path; none where there is nothing to draw.
fn draw_path(svg: &mut String, class: &str, path: &str) {
    if !path.is_empty() {
        let _ = write!(svg, "<path class=\"{}\" d=\"{path}\"/>", escaped(class));
    }
}

/// With one decimal at most, `3` rather than `3.0`, and never `-0`.
fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0 + 0.0
}

#[expect(clippy::cast_precision_loss, reason = "a picture has fewer pixels than a double has digits")]
fn drawn(count: Option<u64>) -> f64 {
    (count.unwrap_or_default() as f64).min(MOST)
}

#[expect(clippy::cast_precision_loss, reason = "places of a list, which is far shorter")]
fn usize_to_f64(number: usize) -> f64 {
    number as f64
}

/// A value that can be drawn.
fn usable(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite() && *value >= 0.0).map(|value| value.min(MOST))
}

/// As text or as an attribute's value. Characters that XML does not have are replaced.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\t' | '\n' | '\r' => safe.push(' '),
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            letter if letter.is_control() => safe.push('\u{fffd}'),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests;
