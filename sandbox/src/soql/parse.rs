//! Reads SOQL text into a tree.
//!
//! Hand-written descent over tokens: the language has one statement and no ambiguity worth a generator. It
//! knows names only as text; whether an object or a field exists is decided in `bind`. Every failure is
//! MALFORMED_QUERY with the platform's wording. Clauses that change nothing here (`FOR VIEW`, `USING SCOPE`,
//! `WITH SECURITY_ENFORCED`, `ALL ROWS`) are read and, but for the last, ignored.

use super::cursor::Parser;
use super::token::{Literal, TokenKind, tokens};
use super::tree::{Condition, FieldSet, Function, Order, Path, Select, Statement};
use super::{Malformed, Op};

pub fn parse(text: &str) -> Result<Statement, Malformed> {
    let mut parser = Parser::new(tokens(text)?);
    let statement = parser.statement()?;
    match parser.peek() {
        Some(token) => Err(parser.unexpected(token)),
        None => Ok(statement),
    }
}

impl Parser<'_> {
    fn statement(&mut self) -> Result<Statement, Malformed> {
        self.expect_word("select")?;
        let mut select = vec![self.select()?];
        while self.mark(",") {
            select.push(self.select()?);
        }
        self.expect_word("from")?;
        let from = self.name()?.to_owned();
        let alias = self.alias(&[
            "where", "group", "order", "limit", "offset", "for", "using", "with", "all", "having",
        ]);
        if self.words(&["using", "scope"]) {
            self.name()?;
        }
        let filter = if self.word("where") {
            Some(self.condition()?)
        } else {
            None
        };
        if self.word("with") {
            self.name()?;
        }
        let group = if self.words(&["group", "by"]) {
            self.paths()?
        } else {
            Vec::new()
        };
        let having = if self.word("having") {
            Some(self.condition()?)
        } else {
            None
        };
        let order = if self.words(&["order", "by"]) {
            self.orders()?
        } else {
            Vec::new()
        };
        let limit = if self.word("limit") {
            Some(self.count()?)
        } else {
            None
        };
        let offset = if self.word("offset") { self.count()? } else { 0 };
        while self.word("for") {
            self.name()?;
        }
        let all_rows = self.words(&["all", "rows"]);
        Ok(Statement {
            select,
            from,
            alias,
            filter,
            group,
            having,
            order,
            limit,
            offset,
            all_rows,
        })
    }

    fn select(&mut self) -> Result<Select, Malformed> {
        if self.mark("(") {
            self.deeper()?;
            let statement = self.statement()?;
            self.depth -= 1;
            self.expect_mark(")")?;
            return Ok(Select::Children(Box::new(statement)));
        }
        if self
            .peek()
            .is_some_and(|token| token.text.eq_ignore_ascii_case("from"))
        {
            return self.fail();
        }
        let path = self.path()?;
        if !self.mark("(") {
            let alias = self.alias(&["from"]);
            return Ok(Select::Field { path, alias });
        }
        let name = path.join(".").to_ascii_uppercase();
        if name == "FIELDS" {
            let set = match self.name()?.to_ascii_uppercase().as_str() {
                "ALL" => FieldSet::All,
                "STANDARD" => FieldSet::Standard,
                "CUSTOM" => FieldSet::Custom,
                _ => {
                    self.at -= 1;
                    return self.fail();
                }
            };
            self.expect_mark(")")?;
            return Ok(Select::Fields(set));
        }
        // Formats and translations of the running user's locale, which here is the value itself.
        if matches!(name.as_str(), "TOLABEL" | "FORMAT" | "CONVERTCURRENCY") {
            let path = self.path()?;
            self.expect_mark(")")?;
            let alias = self.alias(&["from"]);
            return Ok(Select::Field { path, alias });
        }
        let Some(function) = Function::named(&name) else {
            return Err(Malformed(format!("unexpected token: '{}'", path.join("."))));
        };
        let path = if self.mark(")") {
            None
        } else {
            let path = self.path()?;
            self.expect_mark(")")?;
            Some(path)
        };
        if path.is_none() && function != Function::Count {
            return self.fail();
        }
        let alias = self.alias(&["from"]);
        Ok(Select::Aggregate {
            function,
            path,
            alias,
        })
    }

    fn paths(&mut self) -> Result<Vec<Path>, Malformed> {
        let mut paths = vec![self.path()?];
        while self.mark(",") {
            paths.push(self.path()?);
        }
        Ok(paths)
    }

    fn orders(&mut self) -> Result<Vec<Order>, Malformed> {
        let mut orders = Vec::new();
        loop {
            let path = self.operand()?;
            let descending = self.word("desc");
            if !descending {
                let _ = self.word("asc");
            }
            let nulls_last = self.words(&["nulls", "last"]);
            if !nulls_last {
                let _ = self.words(&["nulls", "first"]);
            }
            orders.push(Order {
                path,
                descending,
                nulls_last,
            });
            if !self.mark(",") {
                return Ok(orders);
            }
        }
    }

    fn count(&mut self) -> Result<usize, Malformed> {
        match self
            .peek()
            .map(|token| (&token.kind, token.text.parse::<usize>()))
        {
            Some((TokenKind::Literal(Literal::Number(_)), Ok(count))) => {
                self.at += 1;
                Ok(count)
            }
            _ => self.fail(),
        }
    }

    /// The platform refuses AND beside OR without parentheses.
    fn condition(&mut self) -> Result<Condition, Malformed> {
        self.deeper()?;
        let first = self.unary()?;
        let mut parts = vec![first];
        let condition = if self.word("and") {
            parts.push(self.unary()?);
            while self.word("and") {
                parts.push(self.unary()?);
            }
            Condition::All(parts)
        } else if self.word("or") {
            parts.push(self.unary()?);
            while self.word("or") {
                parts.push(self.unary()?);
            }
            Condition::Any(parts)
        } else {
            parts.remove(0)
        };
        self.depth -= 1;
        let next = self.peek();
        if next.is_some_and(|token| {
            token.text.eq_ignore_ascii_case("and") || token.text.eq_ignore_ascii_case("or")
        }) {
            return self.fail();
        }
        Ok(condition)
    }

    fn unary(&mut self) -> Result<Condition, Malformed> {
        if self.word("not") {
            self.deeper()?;
            let inner = self.unary()?;
            self.depth -= 1;
            return Ok(Condition::Not(Box::new(inner)));
        }
        if self.mark("(") {
            let inner = self.condition()?;
            self.expect_mark(")")?;
            return Ok(inner);
        }
        self.comparison()
    }

    /// A field, or an aggregate of one.
    fn operand(&mut self) -> Result<Path, Malformed> {
        let path = self.path()?;
        if !self.mark("(") {
            return Ok(path);
        }
        let inner = self.path()?.join(".");
        self.expect_mark(")")?;
        Ok(vec![format!("{}({inner})", path.join("."))])
    }

    fn comparison(&mut self) -> Result<Condition, Malformed> {
        let path = self.operand()?;
        if self.words(&["not", "in"]) {
            return self.list(path, true);
        }
        if self.word("in") {
            return self.list(path, false);
        }
        if self.word("includes") {
            return Ok(Condition::Includes {
                path,
                negated: false,
                literals: self.literals()?,
            });
        }
        if self.word("excludes") {
            return Ok(Condition::Includes {
                path,
                negated: true,
                literals: self.literals()?,
            });
        }
        let op = if self.word("like") {
            Op::Like
        } else {
            let marks = [
                ("=", Op::Equal),
                ("!=", Op::NotEqual),
                ("<>", Op::NotEqual),
                ("<=", Op::AtMost),
                (">=", Op::AtLeast),
                ("<", Op::Less),
                (">", Op::Greater),
            ];
            match marks.iter().find(|(mark, _)| self.mark(mark)) {
                Some((_, op)) => *op,
                None => return self.fail(),
            }
        };
        let literal = self.literal()?;
        Ok(Condition::Compare(path, op, literal))
    }

    fn list(&mut self, path: Path, negated: bool) -> Result<Condition, Malformed> {
        let is_query = self
            .tokens
            .get(self.at + 1)
            .is_some_and(|token| token.text.eq_ignore_ascii_case("select"));
        if !is_query {
            return Ok(Condition::In {
                path,
                negated,
                literals: self.literals()?,
            });
        }
        self.expect_mark("(")?;
        self.deeper()?;
        let query = Box::new(self.statement()?);
        self.depth -= 1;
        self.expect_mark(")")?;
        Ok(Condition::InQuery { path, negated, query })
    }

    fn literals(&mut self) -> Result<Vec<Literal>, Malformed> {
        self.expect_mark("(")?;
        let mut literals = vec![self.literal()?];
        while self.mark(",") {
            literals.push(self.literal()?);
        }
        self.expect_mark(")")?;
        Ok(literals)
    }

    fn literal(&mut self) -> Result<Literal, Malformed> {
        let literal = match self.peek().map(|token| (&token.kind, token.text)) {
            Some((TokenKind::Literal(literal), _)) => literal.clone(),
            Some((TokenKind::Word, text)) => match text.to_ascii_uppercase().as_str() {
                "NULL" => Literal::Null,
                "TRUE" => Literal::Boolean(true),
                "FALSE" => Literal::Boolean(false),
                name if super::token::is_date_name(name) => Literal::DateName(name.to_owned()),
                _ => return self.fail(),
            },
            _ => return self.fail(),
        };
        self.at += 1;
        Ok(literal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Literal {
        Literal::Text(value.to_owned())
    }

    fn path(value: &str) -> Path {
        value.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn reads_every_clause() {
        let statement = parse(
            "select Id, Account.Name, (select Id from OrderItems) from Order o where Status = 'Draft' and \
             (not Id in ('801A', '801B')) order by SystemModstamp desc nulls last, Id limit 10 offset 5 for view",
        )
        .unwrap();
        assert_eq!(statement.from, "Order");
        assert_eq!(statement.alias.as_deref(), Some("o"));
        assert_eq!(statement.select.len(), 3);
        assert_eq!((statement.limit, statement.offset), (Some(10), 5));
        let first = Order {
            path: path("SystemModstamp"),
            descending: true,
            nulls_last: true,
        };
        assert_eq!(statement.order[0], first);
        let status = Condition::Compare(path("Status"), Op::Equal, text("Draft"));
        let ids = Condition::In {
            path: path("Id"),
            negated: false,
            literals: vec![text("801A"), text("801B")],
        };
        assert_eq!(
            statement.filter,
            Some(Condition::All(vec![status, Condition::Not(Box::new(ids))]))
        );
    }

    #[test]
    fn reads_literals() {
        for (written, expected) in [
            (r"'it\'s'", text("it's")),
            ("''", text("")),
            ("-12.5", Literal::Number(-12.5)),
            ("null", Literal::Null),
            ("TRUE", Literal::Boolean(true)),
            ("2026-11-22", Literal::Date(1_795_305_600_000)),
            ("2026-11-22T09:30:00Z", Literal::DateTime(1_795_339_800_000)),
            ("2026-11-22T10:30:00+01:00", Literal::DateTime(1_795_339_800_000)),
            (
                "2026-11-22T10:30:00.000 01:00",
                Literal::DateTime(1_795_339_800_000),
            ),
            ("LAST_N_DAYS:7", Literal::DateName("LAST_N_DAYS:7".to_owned())),
            ("today", Literal::DateName("TODAY".to_owned())),
        ] {
            let statement = parse(&format!("SELECT Id FROM A WHERE F={written}"));
            let expected = Condition::Compare(path("F"), Op::Equal, expected);
            assert_eq!(statement.unwrap().filter, Some(expected), "{written}");
        }
    }

    #[test]
    fn reads_aggregates() {
        let statement = parse("SELECT Status s, COUNT(Id) n, MAX(Total) FROM Order GROUP BY Status").unwrap();
        assert_eq!(
            statement.select[1],
            Select::Aggregate {
                function: Function::Count,
                path: Some(path("Id")),
                alias: Some("n".to_owned())
            }
        );
        assert_eq!(statement.group, [path("Status")]);
        let count = parse("SELECT COUNT() FROM Account").unwrap();
        assert_eq!(
            count.select,
            [Select::Aggregate {
                function: Function::Count,
                path: None,
                alias: None
            }]
        );
    }

    #[test]
    fn refuses_what_is_not_soql() {
        for (query, token) in [
            ("SELECT FROM Account", "unexpected token: 'FROM'"),
            ("SELECT Id FROM Account WHERE", "unexpected token: '<EOF>'"),
            (
                "SELECT Id FROM Account WHERE Name = foo",
                "unexpected token: 'foo'",
            ),
            ("SELECT Id FROM Account LIMIT x", "unexpected token: 'x'"),
            (
                "SELECT Id FROM A WHERE B = 1 AND C = 2 OR D = 3",
                "unexpected token: 'OR'",
            ),
            ("", "unexpected token: '<EOF>'"),
        ] {
            assert_eq!(parse(query).unwrap_err().0, token, "{query}");
        }
        let deep = format!("SELECT Id FROM A WHERE {}B = 1", "(".repeat(10_000));
        assert!(parse(&deep).is_err());
    }
}
