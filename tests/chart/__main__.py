"""`python -m tests.chart`: write the manifests that are committed, as `make chart RENEW=1` does."""

from tests.chart import charts

if __name__ == "__main__":
    for name, text in charts.written().items():
        (charts.FOLDER / f"{name}.yaml").write_text(text)
        print(f"wrote deploy/kubernetes/{name}.yaml")
