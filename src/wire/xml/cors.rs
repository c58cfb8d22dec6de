//! Cross-origin rules of a bucket: the document, and which rule a request falls under.

use super::{DocumentError, root, schema};
use crate::limits;
use crate::xml::{Document, Element};

const METHODS: [&str; 5] = ["GET", "PUT", "POST", "DELETE", "HEAD"];

/// A bucket's rules, in the client's order: the first that fits decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorsConfiguration {
    pub rules: Vec<CorsRule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorsRule {
    pub id: Option<String>,
    /// With at most one `*` each.
    pub origins: Vec<String>,
    pub methods: Vec<String>,
    /// With at most one `*` each; compared without case.
    pub headers: Vec<String>,
    pub exposed: Vec<String>,
    pub max_age_s: Option<u32>,
}

impl CorsConfiguration {
    pub fn parse(document: &[u8]) -> Result<CorsConfiguration, DocumentError> {
        let root = root(document, "CORSConfiguration")?;
        let rules = root.children_named("CORSRule").map(read_rule).collect::<Result<Vec<_>, _>>()?;
        if rules.is_empty() {
            return Err(schema("name at least one <CORSRule>"));
        }
        if rules.len() > limits::CORS_RULES_MAX {
            return Err(schema(format!("there are more than {} rules", limits::CORS_RULES_MAX)));
        }
        Ok(CorsConfiguration { rules })
    }

    pub fn to_xml(&self) -> String {
        let mut document = Document::new("CORSConfiguration");
        for rule in &self.rules {
            document.inside("CORSRule", |document| write_rule(document, rule));
        }
        document.finish()
    }

    /// The first rule that allows this origin, method and these request headers (none on an actual request).
    pub fn find<'h>(
        &self,
        origin: &str,
        method: &str,
        headers: impl Iterator<Item = &'h str> + Clone,
    ) -> Option<&CorsRule> {
        self.rules.iter().find(|rule| {
            rule.origin(origin).is_some()
                && rule.methods.iter().any(|allowed| allowed == method)
                && headers.clone().all(|header| rule.allows_header(header))
        })
    }
}

impl CorsRule {
    /// What `Access-Control-Allow-Origin` says to this origin: `*` where the rule says just that.
    pub fn origin<'o>(&self, origin: &'o str) -> Option<&'o str> {
        let pattern = self.origins.iter().find(|pattern| wildcard_match(pattern, origin))?;
        Some(if pattern == "*" { "*" } else { origin })
    }

    fn allows_header(&self, header: &str) -> bool {
        let header = header.to_ascii_lowercase();
        self.headers.iter().any(|pattern| wildcard_match(&pattern.to_ascii_lowercase(), &header))
    }
}

/// `*`, of which a pattern has at most one, stands for any text.
fn wildcard_match(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end),
    }
}

fn read_rule(element: &Element<'_>) -> Result<CorsRule, DocumentError> {
    let texts = |name: &str| -> Vec<String> {
        element.children_named(name).map(|child| child.text().trim().to_owned()).collect()
    };
    let rule = CorsRule {
        id: element.text_of("ID").map(|id| id.trim().to_owned()),
        origins: texts("AllowedOrigin"),
        methods: texts("AllowedMethod"),
        headers: texts("AllowedHeader"),
        exposed: texts("ExposeHeader"),
        max_age_s: element.text_of("MaxAgeSeconds").map(read_age).transpose()?,
    };
    check_rule(&rule)?;
    Ok(rule)
}

fn read_age(text: &str) -> Result<u32, DocumentError> {
    text.trim().parse().map_err(|_| schema(format!("<MaxAgeSeconds> is `{text}`, it must be a number of seconds")))
}

fn check_rule(rule: &CorsRule) -> Result<(), DocumentError> {
    let refuse = |reason: String| Err(DocumentError::InvalidRequest(reason));
    if rule.origins.is_empty() || rule.methods.is_empty() {
        return Err(schema("a <CORSRule> needs an <AllowedOrigin> and an <AllowedMethod>"));
    }
    if rule.id.as_ref().is_some_and(|id| id.len() > limits::NOTIFICATION_ID_BYTES_MAX) {
        return refuse(format!("the rule's ID has more than {} bytes", limits::NOTIFICATION_ID_BYTES_MAX));
    }
    if let Some(method) = rule.methods.iter().find(|method| !METHODS.contains(&method.as_str())) {
        return refuse(format!("found unsupported HTTP method in CORS config. Unsupported method is {method}"));
    }
    for (name, values) in [("AllowedOrigin", &rule.origins), ("AllowedHeader", &rule.headers)] {
        if let Some(value) = values.iter().find(|value| value.matches('*').count() > 1) {
            return refuse(format!("{name} \"{value}\" can not have more than one wildcard"));
        }
    }
    let named = rule.headers.iter().chain(&rule.exposed);
    let mut names = named.map(|name| name.replace('*', "x"));
    if let Some(name) = names.find(|name| http::HeaderName::from_bytes(name.as_bytes()).is_err()) {
        return refuse(format!("`{}` is not the name of a header", name.escape_debug()));
    }
    if let Some(header) = rule.exposed.iter().find(|header| header.contains('*')) {
        return refuse(format!("ExposeHeader \"{header}\" contains wildcard; name each header"));
    }
    if let Some(origin) = rule.origins.iter().find(|origin| origin.chars().any(|c| c.is_control())) {
        return refuse(format!("AllowedOrigin `{}` has control characters", origin.escape_debug()));
    }
    Ok(())
}

fn write_rule(document: &mut Document, rule: &CorsRule) {
    document.text_if("ID", rule.id.as_deref());
    let lists = [
        ("AllowedMethod", &rule.methods),
        ("AllowedOrigin", &rule.origins),
        ("AllowedHeader", &rule.headers),
        ("ExposeHeader", &rule.exposed),
    ];
    for (name, values) in lists {
        for value in values {
            document.text(name, value);
        }
    }
    if let Some(seconds) = rule.max_age_s {
        document.value("MaxAgeSeconds", seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::error::S3Code;

    const RULES: &str = "<CORSConfiguration>\
        <CORSRule><ID>suffix</ID><AllowedOrigin>*suffix</AllowedOrigin><AllowedMethod>GET</AllowedMethod>\
        <ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>30</MaxAgeSeconds></CORSRule>\
        <CORSRule><AllowedOrigin>start*end</AllowedOrigin><AllowedOrigin>http://a</AllowedOrigin>\
        <AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod>\
        <AllowedHeader>X-Amz-*</AllowedHeader><AllowedHeader>content-type</AllowedHeader></CORSRule>\
        <CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>DELETE</AllowedMethod></CORSRule>\
        </CORSConfiguration>";

    /// Origin, method, request headers; the rule that decides and the origin it allows.
    type Case = (&'static str, &'static str, &'static [&'static str], Option<(usize, &'static str)>);

    #[test]
    fn the_first_rule_that_fits_decides() {
        let configuration = CorsConfiguration::parse(RULES.as_bytes()).expect("valid");
        assert_eq!(CorsConfiguration::parse(configuration.to_xml().as_bytes()), Ok(configuration.clone()));
        let cases: [Case; 11] = [
            ("foo.suffix", "GET", &[], Some((0, "foo.suffix"))),
            ("suffix", "GET", &[], Some((0, "suffix"))),
            ("foo.suffix", "PUT", &[], None),
            ("foo.suffix", "GET", &["x-amz-date"], None),
            ("startend", "GET", &[], Some((1, "startend"))),
            ("start1end", "PUT", &["x-amz-date", "Content-Type"], Some((1, "start1end"))),
            ("starten", "PUT", &[], None),
            ("http://a", "PUT", &["range"], None),
            ("http://A", "PUT", &[], None),
            ("http://anyone", "DELETE", &[], Some((2, "*"))),
            ("http://anyone", "delete", &[], None),
        ];
        for (origin, method, headers, expected) in cases {
            let found = configuration.find(origin, method, headers.iter().copied());
            let expected = expected.map(|(at, says)| (&configuration.rules[at], says));
            assert_eq!(found.map(|rule| (rule, rule.origin(origin).expect("it fits"))), expected, "{origin} {method}");
        }
    }

    #[test]
    fn bad_rules_are_refused() {
        let rule = |body: &str| format!("<CORSRule>{body}</CORSRule>");
        let good = "<AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod>";
        let cases = [
            (String::new(), S3Code::MalformedXML),
            (rule(""), S3Code::MalformedXML),
            (rule("<AllowedOrigin>*</AllowedOrigin>"), S3Code::MalformedXML),
            (rule(&format!("{good}<MaxAgeSeconds>long</MaxAgeSeconds>")), S3Code::MalformedXML),
            (rule("<AllowedOrigin>*</AllowedOrigin><AllowedMethod>PATCH</AllowedMethod>"), S3Code::InvalidRequest),
            (rule("<AllowedOrigin>*a*</AllowedOrigin><AllowedMethod>GET</AllowedMethod>"), S3Code::InvalidRequest),
            (rule(&format!("{good}<AllowedHeader>*-*</AllowedHeader>")), S3Code::InvalidRequest),
            (rule(&format!("{good}<ExposeHeader>x-*</ExposeHeader>")), S3Code::InvalidRequest),
            (rule(&format!("{good}<ExposeHeader>a&#10;b</ExposeHeader>")), S3Code::InvalidRequest),
            (rule(good).repeat(limits::CORS_RULES_MAX + 1), S3Code::MalformedXML),
        ];
        for (rules, code) in cases {
            let document = format!("<CORSConfiguration>{rules}</CORSConfiguration>");
            assert_eq!(CorsConfiguration::parse(document.as_bytes()).expect_err(&rules).code(), code, "{rules}");
        }
    }
}
