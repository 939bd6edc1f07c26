//! `cargo xtask codegen`: shapes, schemas and errors from the service models of a pinned botocore package.
//!
//! Only names and constraints are taken, no documentation text. What to generate is in `xtask/codegen/services.json`;
//! the operations a model has and Neargate does not serve go to `xtask/codegen/unserved.txt`, which may only shrink.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

type Result<T> = std::result::Result<T, String>;

/// Generates everything; with `check` compares with what is committed instead of writing.
pub fn run(root: &Path, botocore: Option<PathBuf>, check: bool) -> Result<()> {
    let config = parse(&read(&root.join("xtask/codegen/services.json"))?)?;
    let pinned = text(&config, "botocore")?;
    let data = match botocore {
        Some(dir) => dir,
        None => installed_botocore(root, pinned)?,
    };
    let mut files = BTreeMap::new();
    let mut unserved = String::new();
    for service in config["services"].as_array().ok_or("services.json: no services")? {
        let mut model = Model::load(&data, text(service, "model")?)?;
        // Enumerations that AWS's documentation is ahead of: what is in them, the operation knows.
        for open in service["open"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            let shape = model.json["shapes"][open].as_object_mut();
            let values = shape.and_then(|shape| shape.remove("enum"));
            values.ok_or_else(|| format!("services.json: {open} is no enumeration"))?;
        }
        let serve: BTreeSet<String> = service["serve"]
            .as_array()
            .ok_or("services.json: no serve list")?
            .iter()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect();
        let api = root.join(text(service, "crate")?).join("src/api");
        for (name, body) in model.generate(&serve)? {
            files.insert(api.join(name), body);
        }
        for op in model.operations().filter(|o| !serve.contains(*o)) {
            let _ = writeln!(unserved, "{}:{op}", model.name);
        }
    }
    let unserved_path = root.join("xtask/codegen/unserved.txt");
    let before = std::fs::read_to_string(&unserved_path).unwrap_or_default();
    let known: BTreeSet<&str> = before.lines().collect();
    let grown: Vec<&str> = unserved.lines().filter(|l| !known.contains(l)).collect();
    let new_models: BTreeSet<&str> = known.iter().filter_map(|l| l.split(':').next()).collect();
    if let Some(op) = grown
        .iter()
        .find(|l| new_models.contains(l.split(':').next().unwrap_or("")))
    {
        return Err(format!(
            "{op} was served and is not any more: xtask/codegen/unserved.txt may only shrink"
        ));
    }
    files.insert(unserved_path, unserved);

    let mut stale = Vec::new();
    for (path, body) in files {
        let body = if path.extension().is_some_and(|e| e == "rs") {
            rustfmt(root, &body)?
        } else {
            body
        };
        if std::fs::read_to_string(&path).is_ok_and(|old| old == body) {
            continue;
        }
        if check {
            stale.push(path.strip_prefix(root).unwrap_or(&path).display().to_string());
        } else {
            std::fs::create_dir_all(path.parent().expect("generated files have a folder"))
                .map_err(|e| e.to_string())?;
            std::fs::write(&path, body).map_err(|e| format!("{}: {e}", path.display()))?;
            println!("wrote {}", path.strip_prefix(root).unwrap_or(&path).display());
        }
    }
    if stale.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "generated code is stale, run `cargo xtask codegen`: {}",
            stale.join(", ")
        ))
    }
}

fn installed_botocore(root: &Path, pinned: &str) -> Result<PathBuf> {
    let venv = root.join(".venv/bin/python3");
    let python = if venv.exists() {
        venv.as_os_str().to_owned()
    } else {
        "python3".into()
    };
    let out = Command::new(python)
        .args([
            "-c",
            "import botocore;print(botocore.__version__);print(botocore.__path__[0]+'/data')",
        ])
        .output()
        .map_err(|e| format!("python3: {e}"))?;
    let stdout = String::from_utf8_lossy(&out.stdout).into_owned();
    let mut lines = stdout.lines();
    match (lines.next(), lines.next()) {
        (Some(version), Some(dir)) if version == pinned => Ok(PathBuf::from(dir)),
        (Some(version), _) => Err(format!(
            "botocore {version} is installed, {pinned} is pinned: run ./dev setup"
        )),
        _ => Err(format!(
            "botocore is not installed: run ./dev setup (it makes .venv with botocore {pinned})"
        )),
    }
}

fn rustfmt(root: &Path, body: &str) -> Result<String> {
    use std::io::Write as _;
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(root.join("rustfmt.toml"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .map_err(|e| format!("rustfmt: {e}"))?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let text = body.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let out = child.wait_with_output().map_err(|e| e.to_string())?;
    writer
        .join()
        .expect("the writer does not panic")
        .map_err(|e| e.to_string())?;
    if !out.status.success() {
        return Err("rustfmt refused generated code".to_owned());
    }
    String::from_utf8(out.stdout).map_err(|e| e.to_string())
}

struct Model {
    name: String,
    json: Value,
}

impl Model {
    fn load(data: &Path, name: &str) -> Result<Model> {
        let dir = data.join(name);
        let versions = std::fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let newest = versions
            .flatten()
            .map(|e| e.path())
            .filter(|p| p.is_dir())
            .max()
            .ok_or("no model version")?;
        let gz = newest.join("service-2.json.gz");
        let text = if gz.exists() {
            let mut out = String::new();
            let file = std::fs::File::open(&gz).map_err(|e| e.to_string())?;
            flate2::read::GzDecoder::new(file)
                .read_to_string(&mut out)
                .map_err(|e| e.to_string())?;
            out
        } else {
            read(&newest.join("service-2.json"))?
        };
        Ok(Model {
            name: name.to_owned(),
            json: parse(&text)?,
        })
    }

    fn operations(&self) -> impl Iterator<Item = &str> {
        let mut names: Vec<&str> = self.json["operations"]
            .as_object()
            .into_iter()
            .flat_map(|o| o.keys())
            .map(String::as_str)
            .collect();
        names.sort_unstable();
        names.into_iter()
    }

    fn shape(&self, name: &str) -> Result<&Value> {
        self.json["shapes"]
            .get(name)
            .ok_or_else(|| format!("{}: no shape {name}", self.name))
    }

    fn generate(&self, serve: &BTreeSet<String>) -> Result<Vec<(&'static str, String)>> {
        let mut wanted = BTreeSet::new();
        let mut errors = BTreeSet::new();
        for op in serve {
            let o = self.json["operations"]
                .get(op)
                .ok_or_else(|| format!("{}: no operation {op}", self.name))?;
            for io in ["input", "output"] {
                if let Some(shape) = o[io]["shape"].as_str() {
                    self.reach(shape, &mut wanted)?;
                }
            }
            for e in o["errors"].as_array().into_iter().flatten() {
                errors.insert(text(e, "shape")?.to_owned());
            }
        }
        let head = format!(
            "// Generated by `cargo xtask codegen` from botocore's `{}` model. Do not edit.\n\n",
            self.name
        );
        let module = "//! Generated from the service model: shapes, schema, errors.\n\npub mod errors;\npub mod schema;\npub mod shapes;\n\npub use shapes::*;\n";
        Ok(vec![
            ("mod.rs", module.to_owned()),
            ("shapes.rs", format!("{head}{}", self.shapes_file(&wanted)?)),
            ("schema.rs", format!("{head}{}", self.schema_file(&wanted, serve)?)),
            ("errors.rs", format!("{head}{}", self.errors_file(&errors)?)),
        ])
    }

    fn reach(&self, name: &str, into: &mut BTreeSet<String>) -> Result<()> {
        if !into.insert(name.to_owned()) {
            return Ok(());
        }
        let shape = self.shape(name)?;
        match text(shape, "type")? {
            "structure" => {
                for member in members(shape).values() {
                    self.reach(text(member, "shape")?, into)?;
                }
            }
            "list" => self.reach(text(&shape["member"], "shape")?, into)?,
            "map" => {
                self.reach(text(&shape["key"], "shape")?, into)?;
                self.reach(text(&shape["value"], "shape")?, into)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn rust_type(&self, name: &str) -> Result<String> {
        let shape = self.shape(name)?;
        Ok(match text(shape, "type")? {
            "string" | "character" => "String".into(),
            "integer" => "i32".into(),
            "long" => "i64".into(),
            "float" => "f32".into(),
            "double" => "f64".into(),
            "boolean" => "bool".into(),
            "timestamp" => "Timestamp".into(),
            "blob" => "Blob".into(),
            "list" => format!("Vec<{}>", self.rust_type(text(&shape["member"], "shape")?)?),
            "map" => format!("BTreeMap<String, {}>", self.rust_type(text(&shape["value"], "shape")?)?),
            "structure" if shape["document"].as_bool() == Some(true) => "serde_json::Value".into(),
            "structure" => type_name(name),
            other => return Err(format!("{}: shape type {other} of {name}", self.name)),
        })
    }

    fn shapes_file(&self, wanted: &BTreeSet<String>) -> Result<String> {
        let mut out = String::new();
        let mut body = String::new();
        for name in wanted {
            let shape = self.shape(name)?;
            if text(shape, "type")? != "structure" || shape["document"].as_bool() == Some(true) {
                continue;
            }
            let _ = writeln!(body, "    {} {{", type_name(name));
            for (member, m) in members(shape) {
                let mut ty = self.rust_type(text(m, "shape")?)?;
                if ty == type_name(name) {
                    ty = format!("Box<{ty}>");
                }
                let _ = writeln!(body, "        {}: {ty} = \"{member}\",", field_name(&member));
            }
            body.push_str("    }\n");
        }
        for (word, import) in [
            ("Timestamp", "use neargate_core::Timestamp;\n"),
            ("Blob", "use neargate_core::Blob;\n"),
            ("BTreeMap<", "use std::collections::BTreeMap;\n"),
        ] {
            if body.contains(&format!(": {word}"))
                || body.contains(&format!("<{word}"))
                || body.contains(&format!(", {word}"))
            {
                out.push_str(import);
            }
        }
        let _ = write!(out, "\nneargate_wire::structures! {{\n{body}}}\n");
        Ok(out)
    }

    fn errors_file(&self, errors: &BTreeSet<String>) -> Result<String> {
        let mut out = String::from("use neargate_core::AwsError;\n");
        if errors.is_empty() {
            return Ok(String::new());
        }
        for name in errors {
            let shape = self.shape(name)?;
            let code = shape["error"]["code"].as_str().unwrap_or(name);
            let fault = shape["fault"].as_bool() == Some(true);
            let status = shape["error"]["httpStatusCode"]
                .as_u64()
                .unwrap_or(if fault { 500 } else { 400 });
            let _ = write!(
                out,
                "\n/// `{code}`, HTTP {status}.\npub fn {}(message: impl Into<String>) -> AwsError {{\n    AwsError::new(\"{code}\", {status}, message)\n}}\n",
                field_name(name)
            );
        }
        Ok(out)
    }

    fn schema_file(&self, wanted: &BTreeSet<String>, serve: &BTreeSet<String>) -> Result<String> {
        let meta = &self.json["metadata"];
        let mut out = String::from("use neargate_wire::schema::*;\n\n");
        let protocols: Vec<&str> = match meta["protocols"].as_array() {
            Some(list) => list.iter().filter_map(Value::as_str).collect(),
            None => vec![text(meta, "protocol")?],
        };
        let json_version = meta["jsonVersion"].as_str().unwrap_or("1.0");
        let protocols: Vec<&str> = protocols
            .iter()
            .map(|p| match *p {
                "json" if json_version == "1.1" => "Protocol::AwsJson11",
                "json" => "Protocol::AwsJson10",
                "query" => "Protocol::Query",
                "ec2" => "Protocol::Ec2Query",
                "rest-json" => "Protocol::RestJson",
                "rest-xml" => "Protocol::RestXml",
                _ => "Protocol::RpcV2Cbor",
            })
            .collect();
        let _ = writeln!(
            out,
            "/// The service.\npub static SERVICE: Service = Service {{ name: {:?}, signing_name: {:?}, target_prefix: {:?}, api_version: {:?}, xml_namespace: {:?}, protocols: &[{}], operations: OPERATIONS, modelled: MODELLED }};\n",
            self.name,
            meta["signingName"]
                .as_str()
                .or(meta["endpointPrefix"].as_str())
                .unwrap_or(""),
            meta["targetPrefix"].as_str().unwrap_or(""),
            text(meta, "apiVersion")?,
            meta["xmlNamespace"].as_str().unwrap_or(""),
            protocols.join(", "),
        );
        out.push_str("static OPERATIONS: &[Operation] = &[\n");
        for op in serve {
            let o = &self.json["operations"][op];
            let reference = |io: &str| match o[io]["shape"].as_str() {
                Some(s) => format!("Some(&{})", static_name(s)),
                None => "None".to_owned(),
            };
            let wrapper = match o["output"]["resultWrapper"].as_str() {
                Some(w) => format!("Some({w:?})"),
                None => "None".to_owned(),
            };
            let errors: Vec<String> = o["errors"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|e| e["shape"].as_str())
                .map(|s| format!("{:?}", self.json["shapes"][s]["error"]["code"].as_str().unwrap_or(s)))
                .collect();
            let _ = writeln!(
                out,
                "Operation {{ name: {op:?}, method: {:?}, uri: {:?}, input: {}, output: {}, result_wrapper: {wrapper}, errors: &[{}] }},",
                o["http"]["method"].as_str().unwrap_or("POST"),
                o["http"]["requestUri"].as_str().unwrap_or("/"),
                reference("input"),
                reference("output"),
                errors.join(", "),
            );
        }
        out.push_str("];\n\nstatic MODELLED: &[&str] = &[\n");
        for op in self.operations() {
            let _ = writeln!(out, "{op:?},");
        }
        out.push_str("];\n");
        for name in wanted {
            let shape = self.shape(name)?;
            if plain(shape).is_some() {
                continue;
            }
            let _ = writeln!(
                out,
                "\nstatic {}: Shape = Shape {{ name: {name:?}, kind: {} }};",
                static_name(name),
                self.kind(shape)?
            );
        }
        Ok(out)
    }

    fn kind(&self, shape: &Value) -> Result<String> {
        let bound = |key: &str| match shape[key].as_u64() {
            Some(n) => format!("Some({n})"),
            None => "None".to_owned(),
        };
        let signed = |key: &str| match shape[key].as_i64() {
            Some(n) => format!("Some({n})"),
            None => "None".to_owned(),
        };
        let float = |key: &str| match shape[key].as_f64() {
            Some(n) => format!("Some({n:?})"),
            None => "None".to_owned(),
        };
        let option = |v: &Value| match v.as_str() {
            Some(s) => format!("Some({s:?})"),
            None => "None".to_owned(),
        };
        let flattened = shape["flattened"].as_bool() == Some(true);
        Ok(match text(shape, "type")? {
            "structure" => {
                let required: BTreeSet<&str> = shape["required"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect();
                let mut rows = String::new();
                for (name, member) in members(shape) {
                    let _ = write!(rows, "m({name:?}, {})", self.reference(text(member, "shape")?)?);
                    if required.contains(name.as_str()) {
                        rows.push_str(".required()");
                    }
                    for (key, call) in [("locationName", "named"), ("queryName", "query"), ("location", "at")] {
                        if let Some(value) = member[key].as_str() {
                            let _ = write!(rows, ".{call}({value:?})");
                        }
                    }
                    rows.push_str(", ");
                }
                let union = shape["union"].as_bool() == Some(true);
                format!("Kind::Structure {{ members: &[{rows}], union: {union} }}")
            }
            "list" => format!(
                "Kind::List {{ member: {}, member_name: {}, flattened: {flattened}, min: {}, max: {} }}",
                self.reference(text(&shape["member"], "shape")?)?,
                option(&shape["member"]["locationName"]),
                bound("min"),
                bound("max")
            ),
            "map" => format!(
                "Kind::Map {{ key: {}, value: {}, key_name: {}, value_name: {}, flattened: {flattened}, min: {}, max: {} }}",
                self.reference(text(&shape["key"], "shape")?)?,
                self.reference(text(&shape["value"], "shape")?)?,
                option(&shape["key"]["locationName"]),
                option(&shape["value"]["locationName"]),
                bound("min"),
                bound("max")
            ),
            "string" | "character" => {
                let values: Vec<String> = shape["enum"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .map(|v| format!("{v:?}"))
                    .collect();
                format!(
                    "Kind::String {{ min: {}, max: {}, pattern: {}, values: &[{}] }}",
                    bound("min"),
                    bound("max"),
                    option(&shape["pattern"]),
                    values.join(", ")
                )
            }
            "integer" => format!("Kind::Integer {{ min: {}, max: {} }}", signed("min"), signed("max")),
            "long" => format!("Kind::Long {{ min: {}, max: {} }}", signed("min"), signed("max")),
            "float" => format!("Kind::Float {{ min: {}, max: {} }}", float("min"), float("max")),
            "double" => format!("Kind::Double {{ min: {}, max: {} }}", float("min"), float("max")),
            "blob" => format!("Kind::Blob {{ min: {}, max: {} }}", bound("min"), bound("max")),
            other => return Err(format!("constrained shape of type {other}")),
        })
    }

    fn reference(&self, name: &str) -> Result<String> {
        Ok(match plain(self.shape(name)?) {
            Some(shared) => format!("&{shared}"),
            None => format!("&{}", static_name(name)),
        })
    }
}

/// The shared static of a scalar without constraints.
fn plain(shape: &Value) -> Option<&'static str> {
    let free = ["min", "max", "pattern", "enum"].iter().all(|k| shape[*k].is_null());
    match (shape["type"].as_str()?, free) {
        ("string" | "character", true) => Some("STRING"),
        ("integer", true) => Some("INTEGER"),
        ("long", true) => Some("LONG"),
        ("float", true) => Some("FLOAT"),
        ("double", true) => Some("DOUBLE"),
        ("boolean", _) => Some("BOOLEAN"),
        ("timestamp", _) => Some("TIMESTAMP"),
        ("blob", true) => Some("BLOB"),
        ("structure", _) if shape["document"].as_bool() == Some(true) => Some("DOCUMENT"),
        _ => None,
    }
}

fn members(shape: &Value) -> BTreeMap<String, &Value> {
    shape["members"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v))
        .collect()
}

/// The Rust type of a structure; shapes named like prelude types get a suffix.
fn type_name(shape: &str) -> String {
    let mut name: String = shape[..1].to_ascii_uppercase() + &shape[1..];
    if matches!(
        name.as_str(),
        "String" | "Vec" | "Option" | "Box" | "Result" | "Blob" | "Timestamp"
    ) {
        name.push_str("Shape");
    }
    name
}

fn static_name(shape: &str) -> String {
    let name = snake(shape).to_ascii_uppercase();
    if matches!(
        name.as_str(),
        "STRING"
            | "INTEGER"
            | "LONG"
            | "FLOAT"
            | "DOUBLE"
            | "BOOLEAN"
            | "TIMESTAMP"
            | "BLOB"
            | "DOCUMENT"
            | "SERVICE"
            | "OPERATIONS"
            | "MODELLED"
    ) {
        return format!("{name}_SHAPE");
    }
    name
}

fn field_name(member: &str) -> String {
    let name = snake(member);
    match name.as_str() {
        "type" | "match" | "ref" | "enum" | "final" | "static" | "default" | "where" | "use" | "in" | "for"
        | "async" | "virtual" | "return" | "if" | "else" | "loop" | "while" | "move" | "mod" | "pub" | "struct" => {
            format!("r#{name}")
        }
        "self" => "self_".to_owned(),
        _ => name,
    }
}

/// `clusterArn` -> `cluster_arn`, `CIDRBlock` -> `cidr_block`, `KmsKeyID` -> `kms_key_id`.
fn snake(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (i, c) in chars.iter().enumerate() {
        if c.is_ascii_uppercase() {
            let after_lower = i > 0 && (chars[i - 1].is_ascii_lowercase() || chars[i - 1].is_ascii_digit());
            let before_lower =
                i > 0 && chars[i - 1].is_ascii_uppercase() && chars.get(i + 1).is_some_and(|n| n.is_ascii_lowercase());
            if after_lower || before_lower {
                out.push('_');
            }
        }
        out.push(if *c == '-' || *c == '.' {
            '_'
        } else {
            c.to_ascii_lowercase()
        });
    }
    out
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().ok_or_else(|| format!("no text under {key}"))
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn parse(body: &str) -> Result<Value> {
    serde_json::from_str(body).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_rust_names() {
        assert_eq!(snake("clusterArn"), "cluster_arn");
        assert_eq!(snake("CIDRBlock"), "cidr_block");
        assert_eq!(snake("VpcId"), "vpc_id");
        assert_eq!(field_name("type"), "r#type");
        assert_eq!(static_name("String"), "STRING_SHAPE");
    }
}
