//! Pages, made of elements whose text is escaped because there is no other way to put text in.

use std::fmt::Display;

/// A piece of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Html(String);

impl Html {
    pub fn into_string(self) -> String {
        self.0
    }
}

impl FromIterator<Html> for Html {
    fn from_iter<I: IntoIterator<Item = Self>>(pieces: I) -> Self {
        Self(pieces.into_iter().map(|piece| piece.0).collect())
    }
}

/// Elements that have no end.
const VOID: [&str; 4] = ["input", "meta", "link", "br"];

/// Text, escaped for element content and attribute values alike.
pub fn text(text: impl Display) -> Html {
    Html(escaped(&text.to_string()))
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Not allowed in a page, whatever a record holds.
            '\0' => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

/// An element. An attribute whose value is empty is written without one.
pub fn element(
    name: &'static str,
    attributes: &[(&'static str, &str)],
    children: impl IntoIterator<Item = Html>,
) -> Html {
    let mut html = format!("<{name}");
    for (attribute, value) in attributes {
        html.push(' ');
        html.push_str(attribute);
        if !value.is_empty() {
            html.push_str(&format!("=\"{}\"", escaped(value)));
        }
    }
    html.push('>');
    children.into_iter().for_each(|child| html.push_str(&child.0));
    if !VOID.contains(&name) {
        html.push_str(&format!("</{name}>"));
    }
    Html(html)
}

/// An element with text in it.
pub fn tag(name: &'static str, content: impl Display) -> Html {
    element(name, &[], [text(content)])
}

pub fn link(address: &str, content: impl Display) -> Html {
    element("a", &[("href", address)], [text(content)])
}

pub fn heading(content: impl Display) -> Html {
    tag("h2", content)
}

pub fn note(content: impl Display) -> Html {
    element("p", &[("class", "note")], [text(content)])
}

/// A table that can be scrolled sideways with the keyboard where it is too wide.
pub fn table(caption: &str, head: &[&str], rows: impl IntoIterator<Item = Vec<Html>>) -> Html {
    // Named once more in each cell, and the roles said, for narrow screens: there each row is a block of its own.
    let cell = |(place, cell): (usize, Html)| {
        let title = head.get(place).copied().unwrap_or_default();
        element("td", &[("role", "cell"), ("data-head", title)], [cell])
    };
    let titles = head
        .iter()
        .map(|title| element("th", &[("scope", "col"), ("role", "columnheader")], [text(title)]));
    let titles = element(
        "thead",
        &[("role", "rowgroup")],
        [element("tr", &[("role", "row")], titles)],
    );
    let mut any = false;
    let rows: Html = rows
        .into_iter()
        .map(|cells| {
            any = true;
            element("tr", &[("role", "row")], cells.into_iter().enumerate().map(cell))
        })
        .collect();
    if !any {
        return note(format!("{caption}: none"));
    }
    let table = element(
        "table",
        &[("role", "table")],
        [
            tag("caption", caption),
            titles,
            element("tbody", &[("role", "rowgroup")], [rows]),
        ],
    );
    let attributes = [
        ("class", "wide"),
        ("role", "group"),
        ("tabindex", "0"),
        ("aria-label", caption),
    ];
    element("div", &attributes, [table])
}

/// Names with what they are.
pub fn facts(facts: impl IntoIterator<Item = (String, Html)>) -> Html {
    let pairs = facts
        .into_iter()
        .map(|(name, value)| element("div", &[], [tag("dt", name), element("dd", &[], [value])]));
    element("dl", &[("class", "facts")], pairs)
}

/// A labelled field of a form.
pub fn field(label: &str, name: &str, value: &str, hint: &str) -> Html {
    let input = element(
        "input",
        &[
            ("id", name),
            ("name", name),
            ("type", "text"),
            ("autocomplete", "off"),
            ("placeholder", hint),
            ("value", value),
        ],
        [],
    );
    let label = element("label", &[("for", name)], [text(label)]);
    element("div", &[("class", "field")], [label, input])
}

pub fn button(label: &str) -> Html {
    element("button", &[("type", "submit")], [text(label)])
}

/// Text as it is, that can be scrolled with the keyboard.
pub fn verbatim(label: &str, content: impl Display) -> Html {
    let attributes = [("tabindex", "0"), ("role", "group"), ("aria-label", label)];
    element("pre", &attributes, [text(content)])
}

/// What is shown when it is asked for.
pub fn folded(summary: &str, content: Html) -> Html {
    element("details", &[], [tag("summary", summary), content])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_an_element() {
        let evil = "<script>alert('x')</script>&\"\0";
        let html = element("a", &[("href", evil), ("hidden", "")], [text(evil)]).into_string();
        assert_eq!(html.matches('<').count(), 2, "{html}");
        assert!(html.starts_with("<a href=\"&lt;script"), "{html}");
        assert!(html.contains(" hidden>") && !html.contains('\0'), "{html}");
        assert_eq!(element("br", &[], []).into_string(), "<br>");
    }

    #[test]
    fn an_empty_table_is_a_sentence() {
        assert_eq!(
            table("Events", &["a"], []).into_string(),
            "<p class=\"note\">Events: none</p>"
        );
    }
}
