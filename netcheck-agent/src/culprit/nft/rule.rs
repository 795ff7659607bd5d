//! A rule in nft's words, from the expressions that the kernel keeps of it. Pure.
//!
//! What the kernel keeps is a program for registers; nft turns it back with much knowledge. Here the common part of that
//! is known: what is compared, counted and decided. Everything else is shown as `…`, never guessed.

mod fields;

use std::fmt::Write as _;

use self::fields::{Context, Field, Kind, loaded};
use super::attributes::{Attributes, text};
use super::event::{Verdict, verdict};

// enum nft_rule_attributes.
const EXPRESSIONS: u16 = 4;
const USERDATA: u16 = 7;
/// `NFTA_LIST_ELEM`, `NFTA_EXPR_NAME`, `NFTA_EXPR_DATA`.
const ELEMENT: u16 = 1;
const NAME: u16 = 1;
const DATA: u16 = 2;

/// A rule as far as it is understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    /// `ip saddr 10.0.0.1 tcp dport 80 counter packets 3 bytes 180 drop`.
    pub(crate) text: String,
    /// What its owner wrote beside it.
    pub(crate) comment: String,
    /// It answers what it drops.
    pub(crate) rejects: bool,
    /// It sends packets to or from another address or port than they bear, or keeps connection tracking, and with it
    /// translation, from them.
    pub(crate) alters: bool,
}

impl Rule {
    /// Reads the attributes of `NFT_MSG_NEWRULE`. `family`: `NFPROTO_*` of its table.
    pub(crate) fn read(family: u8, attributes: Attributes<'_>) -> Self {
        let mut reader = Reader { context: Context::of(family), ..Reader::default() };
        let elements = attributes.nested(EXPRESSIONS).into_iter().flat_map(Attributes::iter);
        for (_, element) in elements.filter(|(kind, _)| *kind == ELEMENT) {
            let element = Attributes::new(element);
            let data = element.nested(DATA).unwrap_or(Attributes::new(&[]));
            reader.take(&element.text(NAME).unwrap_or_default(), data);
        }
        if let Some(comment) = attributes.get(USERDATA).and_then(user_comment) {
            reader.comment = comment;
        }
        Self {
            text: reader.words.join(" "),
            comment: reader.comment,
            rejects: reader.rejects,
            alters: reader.alters,
        }
    }
}

/// nft's own comment: the entry of type 0 in a list of type, length, value (libnftnl/udata.h).
fn user_comment(mut bytes: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = bytes {
        let value = rest.get(..usize::from(*length))?;
        if *kind == 0 {
            return Some(text(value));
        }
        bytes = &rest[usize::from(*length)..];
    }
    None
}

/// `NFT_CT_ZONE` (linux/netfilter/nf_tables.h).
const ZONE: u32 = 17;
/// Targets of iptables that change addresses, or keep connection tracking away (iptables-extensions(8)).
const TRANSLATING: [&str; 8] =
    ["DNAT", "SNAT", "REDIRECT", "MASQUERADE", "NETMAP", "TPROXY", "CT", "NOTRACK"];

/// Turns expressions into words, one after the other.
#[derive(Default)]
struct Reader {
    context: Context,
    /// What registers hold, in the order in which they were loaded.
    registers: Vec<(u32, Field)>,
    words: Vec<String>,
    comment: String,
    rejects: bool,
    alters: bool,
}

impl Reader {
    fn take(&mut self, name: &str, data: Attributes<'_>) {
        match name {
            "meta" => self.meta(data),
            "ct" => self.ct(data),
            "payload" => self.payload(data),
            "bitwise" => self.bitwise(data),
            "byteorder" => self.byteorder(data),
            "cmp" => self.compare(data),
            "range" => self.range(data),
            "lookup" => self.lookup(data),
            "immediate" => self.immediate(data),
            "numgen" => {
                let how = if data.number(3) == Some(1) { "random" } else { "inc" };
                let words = format!("numgen {how} mod {}", data.number(2).unwrap_or_default());
                self.load(data.number(1), Field::single(words, Kind::Number));
            }
            "fib" => self.load(data.number(1), Field::single("fib …".to_owned(), Kind::Number)),
            _ => self.statement(name, data),
        }
    }

    /// What loads nothing and compares nothing.
    fn statement(&mut self, name: &str, data: Attributes<'_>) {
        self.alters |= matches!(name, "masq" | "redir" | "nat" | "tproxy" | "notrack");
        let words = match name {
            "counter" => {
                let (bytes, packets) = (data.long(1).unwrap_or_default(), data.long(2).unwrap_or_default());
                format!("counter packets {packets} bytes {bytes}")
            }
            "log" => match data.text(2) {
                Some(prefix) => format!("log prefix {prefix:?}"),
                None => "log".to_owned(),
            },
            "reject" => {
                self.rejects = true;
                // NFT_REJECT_TCP_RST.
                if data.number(1) == Some(1) { "reject with tcp reset" } else { "reject" }.to_owned()
            }
            "limit" => "limit …".to_owned(),
            "masq" => "masquerade".to_owned(),
            "redir" => "redirect".to_owned(),
            "nat" => if data.number(1) == Some(1) { "dnat …" } else { "snat …" }.to_owned(),
            "notrack" | "queue" | "synproxy" | "fwd" | "dup" => name.to_owned(),
            "match" => return self.extension(data),
            "target" => {
                let target = data.text(1).unwrap_or_default();
                self.rejects |= target == "REJECT";
                self.alters |= TRANSLATING.contains(&target.as_str());
                format!("-j {target}")
            }
            _ => "…".to_owned(),
        };
        self.words.push(words);
    }

    /// A match of iptables that nftables has no word for (xt_*.c).
    fn extension(&mut self, data: Attributes<'_>) {
        let name = data.text(1).unwrap_or_default();
        if name == "comment" {
            self.comment = data.text(3).unwrap_or_default();
        } else {
            self.words.push(format!("-m {name} …"));
        }
    }

    fn load(&mut self, register: Option<u32>, field: Field) {
        let Some(register) = register else { return };
        self.registers.retain(|(other, _)| *other != register);
        self.registers.push((register, field));
    }

    /// What a register holds; it goes on holding it, as for the two ends of a range.
    fn held(&self, register: Option<u32>) -> Field {
        let held = self.registers.iter().find(|(other, _)| Some(*other) == register);
        held.map_or_else(|| Field::single("…".to_owned(), Kind::Bytes), |(_, field)| field.clone())
    }

    fn meta(&mut self, data: Attributes<'_>) {
        let (words, kind) = fields::meta(data.number(2).unwrap_or(u32::MAX));
        match data.number(3) {
            Some(register) => {
                let value = self.held(Some(register)).shown();
                self.words.push(format!("{words} set {value}"));
            }
            None => self.load(data.number(1), Field::single(words.to_owned(), kind)),
        }
    }

    fn ct(&mut self, data: Attributes<'_>) {
        let (words, kind) = match data.number(2) {
            Some(0) => ("ct state", Kind::State),
            Some(2) => ("ct status", Kind::Mark),
            Some(3) => ("ct mark", Kind::Mark),
            Some(ZONE) => ("ct zone", Kind::Number),
            _ => ("ct …", Kind::Bytes),
        };
        match data.number(4) {
            Some(register) => {
                self.alters |= data.number(2) == Some(ZONE);
                let value = self.held(Some(register)).shown();
                self.words.push(format!("{words} set {value}"));
            }
            None => self.load(data.number(1), Field::single(words.to_owned(), kind)),
        }
    }

    fn payload(&mut self, data: Attributes<'_>) {
        let base = data.number(2).unwrap_or(u32::MAX);
        let field = loaded(&self.context, base, data.number(3), data.number(4));
        if let Some(register) = data.number(5) {
            // It writes into the packet.
            self.alters = true;
            let words = format!("{} set {}", field.words(), self.held(Some(register)).shown());
            return self.words.push(words);
        }
        self.load(data.number(1), field);
    }

    fn bitwise(&mut self, data: Attributes<'_>) {
        let mut field = self.held(data.number(1));
        let value = |kind| data.nested(kind).and_then(|list| list.get(1)).map(<[u8]>::to_vec);
        let flips = value(5).is_some_and(|bits| bits.iter().any(|&byte| byte != 0));
        field.mask = value(4).filter(|_| !flips && data.number(6).unwrap_or_default() == 0);
        if field.mask.is_none() {
            field = Field::single(format!("{} …", field.words()), Kind::Bytes);
        }
        self.load(data.number(2), field);
    }

    fn byteorder(&mut self, data: Attributes<'_>) {
        let mut field = self.held(data.number(1));
        field.swapped = !field.swapped;
        self.load(data.number(2), field);
    }

    fn compare(&mut self, data: Attributes<'_>) {
        let field = self.held(data.number(1));
        let value = data.nested(3).and_then(|list| list.get(1)).unwrap_or_default();
        let operator = data.number(2).unwrap_or_default();
        if operator == 0 {
            self.context.learn(&field, value);
        }
        let sign = match operator {
            0 => "",
            1 => "!= ",
            2 => "< ",
            3 => "<= ",
            4 => "> ",
            5 => ">= ",
            _ => "… ",
        };
        self.words.push(field.compared(sign, value));
    }

    fn range(&mut self, data: Attributes<'_>) {
        let field = self.held(data.number(1));
        let end = |kind| data.nested(kind).and_then(|list| list.get(1)).unwrap_or_default();
        let sign = if data.number(2) == Some(1) { "!= " } else { "" };
        self.words.push(format!("{} {sign}{}-{}", field.words(), field.value(end(3)), field.value(end(4))));
    }

    fn lookup(&mut self, data: Attributes<'_>) {
        let first = self.registers.iter().position(|(other, _)| Some(*other) == data.number(2));
        let keys = self.registers.split_off(first.unwrap_or(self.registers.len()));
        let keys: Vec<String> = keys.iter().map(|(_, field)| field.words()).collect();
        let set = data.text(1).unwrap_or_default();
        let mut words = if keys.is_empty() { "…".to_owned() } else { keys.join(" . ") };
        let sign = match (data.number(3), data.number(5)) {
            (Some(0), _) => "vmap ",
            (_, Some(flags)) if flags & 1 != 0 => "!= ",
            _ => "",
        };
        let _ = write!(words, " {sign}@{set}");
        match data.number(3).filter(|register| *register != 0) {
            Some(register) => self.load(Some(register), Field::single(words, Kind::Bytes)),
            None => self.words.push(words),
        }
    }

    fn immediate(&mut self, data: Attributes<'_>) {
        let value = data.nested(2).unwrap_or(Attributes::new(&[]));
        // NFT_REG_VERDICT, and NFTA_DATA_VERDICT.
        if data.number(1) == Some(0) {
            let code = value.nested(2).and_then(|list| list.number(1)).map(u32::cast_signed);
            let words = match (value.nested(2).and_then(verdict), code) {
                (Some(Verdict::Drop), _) => "drop".to_owned(),
                (Some(Verdict::Accept), _) => "accept".to_owned(),
                (Some(Verdict::Queue), _) => "queue".to_owned(),
                (Some(Verdict::Stolen), _) => "stolen".to_owned(),
                (Some(Verdict::To(chain)), Some(-4)) => format!("goto {chain}"),
                (Some(Verdict::To(chain)), _) => format!("jump {chain}"),
                (_, Some(-5)) => "return".to_owned(),
                (_, Some(-1)) => "continue".to_owned(),
                _ => "…".to_owned(),
            };
            return self.words.push(words);
        }
        let value = value.get(1).unwrap_or_default();
        self.load(data.number(1), Field::literal(value));
    }
}
