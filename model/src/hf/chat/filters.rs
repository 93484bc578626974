//! What chat templates call that Jinja itself lacks or does differently.

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, State, Value};
use std::time::{SystemTime, UNIX_EPOCH};

/// JSON as Python's `json.dumps(value, ensure_ascii=False)` writes it: with spaces after separators and without
/// Jinja's HTML escapes. Keys come in alphabetical order.
pub(super) fn tojson(value: &Value, indent: Option<Value>, options: Kwargs) -> Result<String, Error> {
    const WIDEST: usize = 8;
    let wanted = indent.clone().or(options.peek("indent")?);
    if wanted.is_some_and(|indent| usize::try_from(indent).is_ok_and(|indent| indent > WIDEST)) {
        return Err(Error::new(ErrorKind::InvalidOperation, format!("tojson: expected an indent of at most {WIDEST}")));
    }
    let escaped = minijinja::filters::tojson(value, indent, options)?.to_string();
    let mut plain = String::with_capacity(escaped.len());
    let mut rest = escaped.as_str();
    while let Some(position) = rest.find('\\') {
        plain.push_str(&rest[..position]);
        let html = [("\\u003c", '<'), ("\\u003e", '>'), ("\\u0026", '&'), ("\\u0027", '\'')];
        let escape = &rest[position..];
        match html.into_iter().find(|(code, _)| escape.starts_with(code)) {
            Some((code, character)) => {
                plain.push(character);
                rest = &escape[code.len()..];
            }
            // any other escape is two characters or starts with two that hold no further backslash
            None => {
                plain.push_str(&escape[..2]);
                rest = &escape[2..];
            }
        }
    }
    plain.push_str(rest);
    Ok(plain)
}

/// The methods of Python's strings, lists and dicts. Fields of `format` may be a thousand characters wide: the engine would make them as wide as they say before it counts.
pub(super) fn python_method(state: &mut State<'_, '_>, value: &Value, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    let is_wide = |text: &str| text.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > 3);
    if method == "format" && value.as_str().is_some_and(is_wide) {
        return Err(Error::new(ErrorKind::InvalidOperation, "format: expected fields of at most 999 characters"));
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, arguments)
}

/// The present date and time in UTC, formatted as Python's `strftime` does.
pub(super) fn strftime_now(format: &str) -> Result<String, Error> {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    strftime(format, since_epoch.as_secs())
}

fn strftime(format: &str, unix_seconds: u64) -> Result<String, Error> {
    const MONTHS: [&str; 12] =
        ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
    const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
    let (days, seconds) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let (year, month, day) = civil_date(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let month_name = MONTHS[month as usize - 1];
    let day_name = DAYS[(days % 7) as usize]; // 1 January 1970 was a Thursday
    let mut text = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        match characters.next() {
            Some('Y') => text += &year.to_string(),
            Some('y') => text += &format!("{:02}", year % 100),
            Some('m') => text += &format!("{month:02}"),
            Some('d') => text += &format!("{day:02}"),
            Some('B') => text += month_name,
            Some('b') => text += &month_name[..3],
            Some('A') => text += day_name,
            Some('a') => text += &day_name[..3],
            Some('H') => text += &format!("{hour:02}"),
            Some('M') => text += &format!("{minute:02}"),
            Some('S') => text += &format!("{second:02}"),
            Some('%') => text.push('%'),
            other => {
                let directive = other.map(String::from).unwrap_or_default();
                let message = format!("strftime_now: unsupported directive %{directive}");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        }
    }
    Ok(text)
}

/// Year, month 1–12 and day 1–31 of the day `days` after 1 January 1970, in the Gregorian calendar.
fn civil_date(mut days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + is_leap(year) as u64 {
        days -= 365 + is_leap(year) as u64;
        year += 1;
    }
    let lengths = [31, 28 + is_leap(year) as u64, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month as u64 + 1, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strftime_matches_python() {
        // datetime.fromtimestamp(1709251199, timezone.utc): the last second of a leap day
        let all = strftime("%Y-%m-%d %H:%M:%S %A %a %B %b %y %%", 1_709_251_199).unwrap();
        assert_eq!(all, "2024-02-29 23:59:59 Thursday Thu February Feb 24 %");
        assert_eq!(strftime("%d %b %Y", 1_709_251_200).unwrap(), "01 Mar 2024");
        assert_eq!(strftime("%d %b %Y", 0).unwrap(), "01 Jan 1970");
        assert!(strftime("%q", 0).unwrap_err().to_string().contains("%q"));
    }
}
