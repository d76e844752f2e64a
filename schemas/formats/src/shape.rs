//! What a schema says, in words that all three formats share: the bridge for deriving one format's schema from another's,
//! and what inference proposes.

/// The type of a value. Each format's module reads its schemas to a shape and writes a shape as a schema; what a format has
/// no type for is written so that it comes back (told in its module).
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Anything that JSON can say.
    Any,
    /// Nothing.
    Null,
    /// Yes or no.
    Bool,
    /// Whole numbers by their range.
    Int32,
    /// Of 64 bits.
    Int64,
    /// Unsigned.
    UInt32,
    /// Unsigned, of 64 bits.
    UInt64,
    /// Of single precision.
    Float,
    /// Of double precision.
    Double,
    /// Text.
    String,
    /// Bytes.
    Bytes,
    /// So many bytes.
    Fixed {
        /// Its full name, where it has one.
        name: String,
        /// Bytes.
        size: usize,
    },
    /// A decimal number.
    Decimal {
        /// Most digits.
        precision: u32,
        /// How many of them stand behind the point.
        scale: u32,
    },
    /// A day.
    Date,
    /// A time of day.
    Time(Unit),
    /// A point in time.
    Timestamp(Unit),
    /// Date and time of day at a place that is not told.
    LocalTimestamp(Unit),
    /// Months, days, milliseconds.
    Period,
    /// A UUID as text.
    Uuid,
    /// One of these words.
    Enum(EnumShape),
    /// Values of one type.
    List(Box<Shape>),
    /// Named values of one type.
    Map(Box<Shape>),
    /// Named values of their own types.
    Record(RecordShape),
    /// A record or enumeration that is described further up or before, by its full name.
    Named(String),
    /// One of these; null among them means that the value may be missing.
    Union(Vec<Shape>),
}

/// How fine a time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// A thousandth of a second.
    Millis,
    /// A millionth.
    Micros,
    /// A billionth.
    Nanos,
}

/// An enumeration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnumShape {
    /// Its full name, parts separated by dots.
    pub name: String,
    /// Its words, in order.
    pub symbols: Vec<String>,
    /// What readers take for words they do not know.
    pub default: Option<String>,
}

/// A record.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordShape {
    /// Its full name, parts separated by dots.
    pub name: String,
    /// What it is for.
    pub doc: Option<String>,
    /// Its fields, in order.
    pub fields: Vec<FieldShape>,
}

/// A field of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldShape {
    /// Its name.
    pub name: String,
    /// Its type.
    pub shape: Shape,
    /// Whether it may be absent without being null.
    pub optional: bool,
    /// What readers take when it is absent.
    pub default: Option<serde_json::Value>,
    /// What it is for.
    pub doc: Option<String>,
}
