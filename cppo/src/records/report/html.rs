//! A page, and small pieces of it.

/// A whole page with the style and the script of a report; `body` is HTML.
pub(crate) fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title} · Percept</title>\n\
         <style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}</main>\n<footer>Percept {version}</footer>\n\
         <script>\n{script}</script>\n</body>\n</html>\n",
        title = escape(title),
        style = include_str!("style.css"),
        script = include_str!("script.js"),
        version = env!("CARGO_PKG_VERSION"),
    )
}

/// A list of terms and what they are here.
pub(crate) fn facts(facts: &[(&str, String)]) -> String {
    let items: String = facts.iter().map(|(term, fact)| format!("<div><dt>{}</dt><dd>{}</dd></div>", escape(term), escape(fact))).collect();
    format!("<dl class=\"facts\">{items}</dl>\n")
}

/// Text as HTML text or attribute value.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

/// A headline number: `value` and `note` are HTML.
pub(crate) fn tile(title: &str, value: &str, note: &str) -> String {
    format!("<div class=\"tile\"><h3>{}</h3><p class=\"value\">{value}</p><p class=\"note\">{note}</p></div>\n", escape(title))
}

/// A number with as many digits as one wants to read: 0.0312, 4.27, 1,520, 1.2e-5.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return "–".to_owned();
    }
    if size == 0.0 {
        return "0".to_owned();
    }
    if size < 1e-3 {
        return format!("{value:.1e}").replace('-', "−");
    }
    let text = match size {
        _ if size >= 1e9 => format!("{:.2} G", value / 1e9),
        _ if size >= 1e6 => format!("{:.1} M", value / 1e6),
        _ if size >= 1e4 => format!("{:.1} k", value / 1e3),
        _ if size >= 100.0 => format!("{value:.0}"),
        _ if size >= 10.0 => format!("{value:.1}"),
        _ if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    };
    text.replace('-', "−")
}

/// A rate as per cent, without the sign.
pub(crate) fn percent(rate: f64) -> String {
    format!("{:.1}", 100.0 * rate)
}

/// Seconds for people.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// Base64 with padding (RFC 4648, section 4).
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of RFC 4648, section 10.
    #[test]
    fn base64_is_the_published_one() {
        for (text, code) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(text.as_bytes()), code);
        }
    }

    #[test]
    fn numbers_have_readable_lengths() {
        let shown = [0.0, 0.03123, -4.268, 52.71, 1520.4, 23_456.0, 1.2e-5, f64::NAN].map(number);
        assert_eq!(shown, ["0", "0.031", "−4.27", "52.7", "1520", "23.5 k", "1.2e−5", "–"]);
    }
}
