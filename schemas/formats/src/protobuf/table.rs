//! The messages of a schema as a table of fields by their numbers: what the walk runs on.

use std::collections::HashMap;

use prost_reflect::{Kind, MessageDescriptor};

/// The place of a message in the table.
pub(super) type Id = usize;

#[derive(Debug)]
pub(super) struct Message {
    /// Fields with numbers below [`DENSE`] by their number; 0 is none, else one more than the place in `fields`.
    dense: [u16; DENSE],
    pub(super) fields: Vec<Field>,
    /// How many fields are required; each has a bit of its own.
    pub(super) required: u32,
}

/// Numbers of one-byte tags and some more.
const DENSE: usize = 32;

#[derive(Debug)]
pub(super) struct Field {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) wire: Wire,
    pub(super) repeated: bool,
    /// Which bit it has among the required fields.
    pub(super) required: Option<u32>,
}

/// How a value lies on the wire, as far as a check cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Varint,
    Fixed32,
    Fixed64,
    Text,
    Bytes,
    Message(Id),
    /// An entry of a map.
    Entry(Id),
    Group(Id),
}

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) messages: Vec<Message>,
    ids: HashMap<String, Id>,
}

impl Table {
    /// The place of a message; it and whatever it holds are added when they are not there.
    pub(super) fn add(&mut self, root: &MessageDescriptor) -> Id {
        let mut waiting = Vec::new();
        let id = self.reserve(root, &mut waiting);
        while let Some((id, message)) = waiting.pop() {
            let mut required = 0;
            let mut fields: Vec<Field> = message
                .fields()
                .map(|field| Field {
                    number: field.number(),
                    name: super::label(&field),
                    wire: match (field.kind(), field.is_map()) {
                        (Kind::Message(entry), true) => {
                            Wire::Entry(self.reserve(&entry, &mut waiting))
                        }
                        (kind, _) => self.wire(&kind, field.is_group(), &mut waiting),
                    },
                    repeated: field.is_list() || field.is_map(),
                    required: field.is_required().then(|| {
                        required += 1;
                        required - 1
                    }),
                })
                .collect();
            fields.extend(message.extensions().map(|field| Field {
                number: field.number(),
                name: field.json_name().to_owned(),
                wire: self.wire(&field.kind(), field.is_group(), &mut waiting),
                repeated: field.is_list(),
                required: None,
            }));
            fields.sort_by_key(|field| field.number);
            let mut dense = [0; DENSE];
            for (place, field) in fields.iter().enumerate() {
                if let Some(slot) = dense.get_mut(field.number as usize) {
                    *slot = u16::try_from(place + 1).unwrap_or(0);
                }
            }
            self.messages[id] = Message {
                dense,
                fields,
                required,
            };
        }
        id
    }

    fn wire(
        &mut self,
        kind: &Kind,
        group: bool,
        waiting: &mut Vec<(Id, MessageDescriptor)>,
    ) -> Wire {
        match kind {
            Kind::Message(message) if group => Wire::Group(self.reserve(message, waiting)),
            Kind::Message(message) => Wire::Message(self.reserve(message, waiting)),
            Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => Wire::Fixed64,
            Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => Wire::Fixed32,
            Kind::String => Wire::Text,
            Kind::Bytes => Wire::Bytes,
            _ => Wire::Varint,
        }
    }

    fn reserve(
        &mut self,
        message: &MessageDescriptor,
        waiting: &mut Vec<(Id, MessageDescriptor)>,
    ) -> Id {
        if let Some(id) = self.ids.get(message.full_name()) {
            return *id;
        }
        let id = self.messages.len();
        self.messages.push(Message {
            dense: [0; DENSE],
            fields: Vec::new(),
            required: 0,
        });
        self.ids.insert(message.full_name().to_owned(), id);
        waiting.push((id, message.clone()));
        id
    }
}

impl Message {
    #[inline]
    pub(super) fn field(&self, number: u32) -> Option<&Field> {
        match self.dense.get(number as usize) {
            Some(0) => None,
            Some(place) => self.fields.get(usize::from(*place) - 1),
            None => {
                let place = self
                    .fields
                    .binary_search_by_key(&number, |field| field.number);
                place.ok().map(|place| &self.fields[place])
            }
        }
    }
}
