//! Writes the generated files of the repository anew: `cargo run -p longshore-generate` in `plugins/`.

use std::fs;
use std::path::Path;

fn main() -> anyhow::Result<()> {
    let repository = longshore_generate::repository()?;
    for file in longshore_generate::generated(&repository)? {
        let path = repository.join(&file.path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        fs::write(path, file.content)?;
    }
    Ok(())
}
