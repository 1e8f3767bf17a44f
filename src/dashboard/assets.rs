//! The stylesheet, the script and the icon. The name of each holds a hash of its content: browsers keep it for good, and a
//! new version has a new name.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use sha2::{Digest, Sha256};

/// One file.
#[derive(Debug)]
struct Asset {
    name: String,
    kind: &'static str,
    content: &'static str,
}

impl Asset {
    fn new(stem: &str, ending: &str, kind: &'static str, content: &'static str) -> Self {
        let hash = hex::encode(Sha256::digest(content));
        Self { name: format!("{stem}-{}.{ending}", &hash[..12]), kind, content }
    }
}

/// Below `/ui/assets/`.
static ASSETS: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    [
        Asset::new("style", "css", "text/css; charset=utf-8", include_str!("assets/style.css")),
        Asset::new("script", "js", "text/javascript; charset=utf-8", include_str!("assets/script.js")),
        Asset::new("icon", "svg", "image/svg+xml", include_str!("assets/icon.svg")),
    ]
});

/// The names of the stylesheet, the script and the icon.
pub(super) fn names() -> [&'static str; 3] {
    [&ASSETS[0].name, &ASSETS[1].name, &ASSETS[2].name]
}

/// `GET /ui/assets/{name}`
pub(super) async fn serve(Path(name): Path<String>) -> Response {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => {
            let headers =
                [(header::CONTENT_TYPE, asset.kind), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
            (headers, asset.content).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
