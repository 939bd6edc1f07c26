//! `structures!`: the structs of a service's shapes, with their JSON form, without procedural macros.

/// Declares structs whose members are all optional, as on the wire, and gives each its JSON form by member name.
#[macro_export]
macro_rules! structures {
    ($( $name:ident { $( $field:ident : $ty:ty = $wire:literal ),* $(,)? } )*) => { $(
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name { $( pub $field: Option<$ty>, )* }

        impl $crate::__serde::Serialize for $name {
            fn serialize<S: $crate::__serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                #[allow(unused_imports)]
                use $crate::__serde::ser::SerializeMap as _;
                #[allow(unused_mut)]
                let mut map = serializer.serialize_map(None)?;
                $( if let Some(value) = &self.$field { map.serialize_entry($wire, value)?; } )*
                map.end()
            }
        }

        impl<'de> $crate::__serde::Deserialize<'de> for $name {
            fn deserialize<D: $crate::__serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Members;
                impl<'de> $crate::__serde::de::Visitor<'de> for Members {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(stringify!($name))
                    }
                    fn visit_map<A: $crate::__serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        #[allow(unused_mut)]
                        let mut out = $name::default();
                        while let Some(key) = map.next_key::<String>()? {
                            match key.as_str() {
                                $( $wire => out.$field = map.next_value()?, )*
                                _ => { map.next_value::<$crate::__serde::de::IgnoredAny>()?; }
                            }
                        }
                        Ok(out)
                    }
                }
                deserializer.deserialize_map(Members)
            }
        }
    )* };
}
