//! Lines over time, one below the other, as SVG.

use std::fmt::{self, Write as _};

use anyhow::Result;

pub(crate) struct Panel {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 70.0;
const LEFT: f64 = 60.0;
const ABOVE: f64 = 30.0;
const BETWEEN: f64 = 34.0;

/// Each panel begins at zero: what looks flat is flat.
#[expect(clippy::cast_precision_loss, reason = "a few panels")]
pub(crate) fn svg(title: &str, x_unit: &str, panels: &[Panel]) -> Result<String> {
    let step = HEIGHT + BETWEEN;
    let (width, height) = (LEFT + WIDTH + 20.0, ABOVE + step * panels.len() as f64 + 20.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"18\" font-size=\"14\">{title}</text>\n"
    );
    let x_max = greatest(panels.iter().flat_map(|panel| panel.points.iter().map(|(x, _)| *x)));
    for (at, panel) in panels.iter().enumerate() {
        draw(&mut svg, panel, ABOVE + BETWEEN - 10.0 + step * at as f64, x_max)?;
    }
    let (right, bottom) = (LEFT + WIDTH, height - 8.0);
    writeln!(svg, "<text x=\"{LEFT}\" y=\"{bottom}\">0</text>")?;
    writeln!(
        svg,
        "<text x=\"{right}\" y=\"{bottom}\" text-anchor=\"end\">{x_max:.0} {x_unit}</text>\n</svg>"
    )?;
    Ok(svg)
}

fn draw(svg: &mut String, panel: &Panel, top: f64, x_max: f64) -> fmt::Result {
    let y_max = greatest(panel.points.iter().map(|(_, y)| *y)) * 1.1;
    let bottom = top + HEIGHT;
    writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{:.0}\">{}</text>\n\
         <text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\" fill=\"#777\">{y_max:.0}</text>\n\
         <path d=\"M{LEFT} {top}V{bottom}H{:.0}\" fill=\"none\" stroke=\"#999\"/>",
        top - 5.0,
        panel.name,
        LEFT - 6.0,
        top + 10.0,
        LEFT + WIDTH,
    )?;
    svg.push_str("<polyline fill=\"none\" stroke=\"#1f6f8b\" stroke-width=\"1.3\" points=\"");
    for (x, y) in &panel.points {
        write!(svg, "{:.1},{:.1} ", LEFT + x / x_max * WIDTH, bottom - y / y_max * HEIGHT)?;
    }
    svg.push_str("\"/>\n");
    Ok(())
}

/// Never zero: it divides.
fn greatest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(f64::MIN_POSITIVE, f64::max)
}
