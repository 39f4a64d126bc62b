//! How everything stands, and three charts of how it goes.

use axum::extract;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::model::clock::{Millis, Moment, format_datetime};
use crate::model::freshness::{Standing, State, Truth};
use crate::serve::console::html::{Html, element, facts, heading, link, table, tag, text};
use crate::serve::console::{Page, Trouble, shell};
use crate::serve::{World, reply};
use crate::store::cache::cursors::{self, Cursor};
use crate::store::cache::objects::{self, ObjectState};
use crate::store::cache::{meta, repairs};

pub async fn page(extract::State(world): extract::State<World>) -> Page {
    let health = world.health.borrow().clone();
    let moment = world.clock.moment();
    let now = moment.wall;
    let (objects, cursors, problems, open) = world.reader.with(|connection| {
        Ok((
            objects::objects(connection)?,
            cursors::cursors(connection)?,
            cursors::problems(connection)?,
            repairs::open_counts(connection)?,
        ))
    })?;
    let orders = world.intake.counts()?;
    let standing = health.standing();
    let state = match standing.state(moment) {
        State::Live => element("span", &[("class", "good")], [text("live")]),
        other => element(
            "span",
            &[("class", "bad")],
            [text(called(other, standing, moment))],
        ),
    };
    let lag = standing
        .lag_seconds(moment)
        .map_or_else(|| "not known".to_owned(), |lag| format!("{lag} s"));
    let rows: i64 = objects.iter().map(|object| object.rows).sum();
    let entries: u64 = open.iter().map(|(_, count, _)| count).sum();
    let sending = match health.hindrances.of_orders() {
        Some(problem) => element("span", &[("class", "bad")], [text(problem)]),
        None => text("yes"),
    };
    let files = health.hindrances.files.iter();
    let files = files.map(|trouble| {
        let cause = element("span", &[("class", "bad")], [text(&trouble.cause)]);
        (trouble.file.clone(), cause)
    });
    let told = [
        ("State".to_owned(), state),
        ("Behind the org".to_owned(), text(lag)),
        ("Rows mirrored".to_owned(), text(rows)),
        ("Open repairs".to_owned(), link("/repairs", entries)),
        ("Orders are sent".to_owned(), sending),
    ];
    let told = facts(told.into_iter().chain(files));
    let orders = orders.iter().map(|(state, count)| {
        vec![
            link(&format!("/orders?state={state}"), state.name().replace('_', " ")),
            text(count),
        ]
    });
    let content = [
        told,
        charts(),
        heading("Channels"),
        channels(&cursors, &problems, now),
        heading("Orders"),
        table("Orders by state", &["State", "Orders"], orders),
        heading("Objects"),
        mirrored(&objects, health.freshness.truth(), moment),
    ];
    Ok(shell(StatusCode::OK, "/", "Status", content))
}

/// A state with its cause, where one was found.
fn called(state: State, standing: &Standing, moment: Moment) -> String {
    match standing.cause(moment) {
        Some(cause) => format!("{}: {cause}", state.name()),
        None => state.name().to_owned(),
    }
}

fn mirrored(objects: &[ObjectState], truth: &Truth, moment: Moment) -> Html {
    let lag = |object: &str| {
        let seconds = truth.object(object).and_then(|of| of.lag_seconds(moment));
        seconds.map_or_else(|| "not known".to_owned(), |seconds| format!("{seconds} s"))
    };
    let rows = objects.iter().map(|object| {
        let state = match &object.problem {
            Some(problem) => element("span", &[("class", "bad")], [text(problem)]),
            None => text(object.state),
        };
        vec![
            link(&format!("/events?object={}", object.object), &object.object),
            state,
            text(if object.streamed {
                "change events"
            } else {
                "polling"
            }),
            text(object.rows),
            text(lag(&object.object)),
            text(object.loaded_at.map(format_datetime).unwrap_or_default()),
            text(object.drift.map(|drift| drift.to_string()).unwrap_or_default()),
        ]
    });
    let head = [
        "Object",
        "State",
        "Kept by",
        "Rows",
        "Behind the org",
        "Loaded",
        "Differed when last compared",
    ];
    table("Mirrored objects", &head, rows)
}

fn channels(cursors: &[Cursor], problems: &[(String, String, Millis)], now: Millis) -> Html {
    let rows = cursors.iter().map(|cursor| {
        let problem = problems.iter().find(|(topic, ..)| *topic == cursor.topic);
        vec![
            text(&cursor.topic),
            text(format!("{} s ago", (now - cursor.position_at).max(0) / 1_000)),
            text(format_datetime(cursor.heard_at)),
            text(
                problem
                    .map(|(_, problem, _)| problem.as_str())
                    .unwrap_or_default(),
            ),
        ]
    });
    table(
        "Channels",
        &["Channel", "Position is of", "Last heard", "Problem"],
        rows,
    )
}

fn charts() -> Html {
    let figures = [
        ("lag", "Behind the org", "s"),
        ("rate", "Changes", "a second"),
        ("outbox", "Orders on their way", "now"),
    ];
    let figures = figures.map(|(name, title, unit)| {
        let line = element("polyline", &[("points", "0,96")], []);
        let svg = element(
            "svg",
            &[
                ("viewBox", "0 0 300 96"),
                ("preserveAspectRatio", "none"),
                ("role", "img"),
                ("aria-label", title),
            ],
            [line],
        );
        let caption = element("figcaption", &[], [tag("span", title), tag("output", "")]);
        let attributes = [("data-chart", title), ("data-name", name), ("data-unit", unit)];
        element("figure", &attributes, [caption, svg])
    });
    let pause = element(
        "button",
        &[
            ("type", "button"),
            ("data-pause", ""),
            ("aria-pressed", "false"),
            ("hidden", ""),
        ],
        [text("Pause charts")],
    );
    [
        heading("Live"),
        element("div", &[("class", "charts")], figures),
        element("p", &[], [pause]),
    ]
    .into_iter()
    .collect()
}

/// What the charts are drawn from: `{at, lag_seconds, rev, outbox}`.
pub async fn pulse(extract::State(world): extract::State<World>) -> Result<Response, Trouble> {
    let moment = world.clock.moment();
    let now = moment.wall;
    let rev = world.reader.with(|connection| meta::<i64>(connection, "rev"))?;
    let orders = world.intake.counts()?;
    let on_their_way: i64 = orders
        .iter()
        .filter(|(state, _)| state.is_pending())
        .map(|(_, count)| count)
        .sum();
    let lag = world.health.borrow().standing().lag_seconds(moment);
    let pulse = json!({"at": now, "lag_seconds": lag, "rev": rev.unwrap_or(0), "outbox": on_their_way});
    Ok(reply::json(StatusCode::OK, pulse.to_string().into_bytes()))
}
