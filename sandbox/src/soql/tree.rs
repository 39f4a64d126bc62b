//! What a query says, names not yet looked up.

use super::Op;
use super::token::Literal;

/// A field by way of its parents: `["Account", "Name"]`.
pub type Path = Vec<String>;

#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    pub select: Vec<Select>,
    pub from: String,
    /// The name that stands for the object, in `FROM Account a`.
    pub alias: Option<String>,
    pub filter: Option<Condition>,
    pub group: Vec<Path>,
    pub having: Option<Condition>,
    pub order: Vec<Order>,
    pub limit: Option<usize>,
    pub offset: usize,
    /// `ALL ROWS`: deleted rows too.
    pub all_rows: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Select {
    Field {
        path: Path,
        alias: Option<String>,
    },
    /// `COUNT()` has no path.
    Aggregate {
        function: Function,
        path: Option<Path>,
        alias: Option<String>,
    },
    Children(Box<Statement>),
    /// `FIELDS(ALL)`, `FIELDS(STANDARD)`, `FIELDS(CUSTOM)`
    Fields(FieldSet),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Count,
    CountDistinct,
    Sum,
    Avg,
    Min,
    Max,
}

impl Function {
    pub fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "COUNT" => Self::Count,
            "COUNT_DISTINCT" => Self::CountDistinct,
            "SUM" => Self::Sum,
            "AVG" => Self::Avg,
            "MIN" => Self::Min,
            "MAX" => Self::Max,
            _ => return None,
        })
    }
}

/// An aggregate in HAVING or ORDER BY is a path of one piece, `COUNT(Account.Id)`, which no field's name can be.
pub fn split_call(path: &Path) -> Option<(Function, Path)> {
    let [call] = path.as_slice() else { return None };
    let (name, inner) = call.strip_suffix(')')?.split_once('(')?;
    Some((
        Function::named(name)?,
        inner.split('.').map(str::to_owned).collect(),
    ))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldSet {
    All,
    Standard,
    Custom,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Compare(Path, Op, Literal),
    In {
        path: Path,
        negated: bool,
        literals: Vec<Literal>,
    },
    /// `Id IN (SELECT AccountId FROM Contact)`
    InQuery {
        path: Path,
        negated: bool,
        query: Box<Statement>,
    },
    /// `INCLUDES ('a;b', 'c')`
    Includes {
        path: Path,
        negated: bool,
        literals: Vec<Literal>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    pub path: Path,
    pub descending: bool,
    pub nulls_last: bool,
}
