"""The playground: a form for each model, its references, its price, and the job that comes of it."""

import re
from base64 import b64decode, b64encode

from conftest import Darkroom, dyed  # this folder's
from hands import visit
from playwright.sync_api import Page, expect

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)
SQUARE = b64decode(dyed(40, 120, 200).partition(",")[2])


def test_a_picture_is_made_in_the_playground_and_followed_to_its_end(
    darkroom: Darkroom, page: Page
) -> None:
    visit(page, darkroom, "#/playground")
    page.get_by_label("Prompt").fill("A lighthouse at dawn, as a risograph print")
    page.get_by_label("Image size").select_option("2K")
    drawn = {"name": "a.svg", "mimeType": "image/png", "buffer": PNG}
    page.get_by_label("Reference files").set_input_files([drawn])
    expect(page.get_by_role("img", name="Reference 1")).to_be_visible()
    page.get_by_role("button", name="Remove reference 1").click()
    expect(page.locator(".price")).to_contain_text("at most $")
    for language, word in (("Python", "httpx.post"), ("JavaScript", "fetch("), ("curl", "curl -s")):
        page.get_by_role("button", name=language).click()
        expect(page.locator(".code")).to_contain_text(word)
        expect(page.locator(".code")).to_contain_text("lighthouse")
    page.get_by_role("button", name="Make the picture").click()
    expect(page.locator(".head .status")).to_have_text("succeeded", timeout=60_000)
    shown = page.locator(".picture img")
    expect(shown).to_have_js_property("complete", value=True)
    assert shown.evaluate("each => each.naturalWidth") >= 1440
    expect(page.locator(".story")).to_contain_text("It cost $0.0455 (91,000 credits).")


def test_lists_of_a_models_own_are_filled_in_row_by_row(darkroom: Darkroom, page: Page) -> None:
    for model in ("recraft-v3", "blackforestlabs/flux-2-lora"):
        darkroom.wait_for_price(model)
    visit(page, darkroom, "#/playground?model=recraft-v3")
    page.get_by_label("Prompt").fill("A poster")
    page.get_by_role("button", name="Add a color").click()
    page.locator("input[type=color]").fill("#ff8000")
    expect(page.locator(".code")).to_contain_text(re.compile(r'"r": 255,\s+"g": 128,\s+"b": 0'))
    page.get_by_role("button", name="Remove color 1").click()
    expect(page.locator(".code")).not_to_contain_text("colors")
    visit(page, darkroom, "#/playground?model=blackforestlabs/flux-2-lora")
    page.get_by_label("Prompt", exact=False).first.fill("A poster")
    safe = page.get_by_label("Enable safety checker")
    expect(safe).to_be_checked()  # as the model's schema says
    safe.uncheck()
    expect(page.locator(".code")).to_contain_text('"enable_safety_checker": false')
    page.get_by_role("button", name="Add a lora").click()
    lora = page.get_by_role("group", name="Lora 1", exact=True)
    lora.get_by_label("scale").fill("1.5")
    expect(page.locator(".wrong")).to_contain_text("path")
    lora.get_by_label("path").fill("darkroom/riso-prints")
    expect(page.locator(".wrong")).to_have_count(0)
    expect(page.locator(".code")).to_contain_text('"path": "darkroom/riso-prints"')


def test_a_picture_is_kept_once_and_drawn_from_by_its_name(darkroom: Darkroom, page: Page) -> None:
    visit(page, darkroom, "#/playground")
    page.get_by_label("Prompt").fill("The same in blue")
    page.get_by_text("Files that are kept").click()
    expect(page.locator(".kept")).to_contain_text("None yet")
    upload = {"name": "cup.png", "mimeType": "image/png", "buffer": SQUARE}
    page.get_by_label("Files to keep").set_input_files(upload)
    expect(page.get_by_alt_text("Reference 1")).to_be_visible()
    (kept,) = darkroom.client.get("/v1/files").json()["data"]
    expect(page.locator(".code")).to_contain_text(kept["id"])
    page.get_by_role("button", name="Remove reference 1").click()
    page.get_by_role("button", name="Use cup.png").click()
    expect(page.get_by_role("button", name="Use cup.png")).to_be_disabled()
    page.get_by_role("button", name="Make the picture").click()
    expect(page.locator(".head .status")).to_have_text("succeeded", timeout=60_000)
    expect(page.get_by_alt_text("Reference 1")).to_be_visible()
    picture, given = (
        page.locator(f".beside {each}").bounding_box() for each in (".picture", ".given")
    )
    assert picture is not None
    assert given is not None
    assert given["x"] >= picture["x"] + picture["width"], "beside each other"
    page.go_back()
    page.get_by_text("Files that are kept").click()
    page.get_by_role("button", name="Delete cup.png").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(".kept")).to_contain_text("None yet")
    assert darkroom.client.get("/v1/files").json()["data"] == []


def test_what_is_wrong_is_said_beside_its_field(darkroom: Darkroom, page: Page) -> None:
    visit(page, darkroom, "#/playground")
    page.get_by_label("Prompt").fill("A fox")
    page.get_by_label("Image size").select_option("own")
    page.get_by_label("width").fill("1440")
    page.get_by_label("height").fill("1440")
    expect(page.locator(".wrong")).to_contain_text("3,686,400")


def test_a_link_that_was_typed_and_a_file_that_was_dropped_are_sent(
    darkroom: Darkroom, page: Page
) -> None:
    visit(page, darkroom, "#/playground")
    link = "https://example.com/cup.png"
    page.get_by_placeholder("https://…").fill(link)
    page.get_by_label("Prompt").fill("A cup like this one")
    expect(page.locator(".code")).to_contain_text(link)
    page.get_by_role("button", name="Remove reference 1").click()
    drop(page, {"cup.png": "image/png", "notes.txt": "text/plain"})
    expect(page.get_by_role("img", name="Reference 1")).to_be_visible()
    expect(page.locator(".drop")).to_contain_text("notes.txt is left out: no image.")
    drop(page, {f"{number}.png": "image/png" for number in range(14)})
    expect(page.locator(".drop")).to_contain_text("13.png is left out: more than the 14")
    expect(page.locator(".drop")).to_contain_text("14 of 14")
    expect(page.locator(".price")).to_contain_text("at most $")


def test_a_reference_is_not_sent_with_each_quote(darkroom: Darkroom, page: Page) -> None:
    visit(page, darkroom, "#/playground")
    cup = {"name": "cup.png", "mimeType": "image/png", "buffer": SQUARE}
    page.get_by_label("Reference files").set_input_files([cup])
    expect(page.get_by_role("img", name="Reference 1")).to_be_visible()
    with page.expect_request("**/v1/quotes") as quoted:
        page.get_by_label("Prompt").fill("A cup like this one")
    assert len(str(quoted.value.post_data)) < len(SQUARE)
    expect(page.locator(".price")).to_contain_text("at most $")


def test_another_model_leaves_what_was_typed(darkroom: Darkroom, page: Page) -> None:
    darkroom.wait_for_price("recraft-v3")
    visit(page, darkroom, "#/playground")
    page.get_by_label("Prompt").fill("A poster of a heron")
    page.get_by_role("combobox", name="Model").select_option("recraft-v3")
    expect(page.get_by_role("button", name="Add a color")).to_be_visible()
    expect(page.get_by_label("Prompt")).to_have_value("A poster of a heron")
    expect(page.locator(".code")).to_contain_text('"model": "recraft-v3"')


def test_a_job_is_edited_also_from_within_the_playground(darkroom: Darkroom, page: Page) -> None:
    job = darkroom.submit("To be edited")
    darkroom.finish(job)
    visit(page, darkroom, "#/playground")
    page.get_by_label("Prompt").fill("Something else")
    page.goto(f"{darkroom.url}/#/playground?from={job}")
    expect(page.get_by_label("Prompt")).to_have_value("To be edited")
    expect(page.get_by_role("button", name="Run again")).to_be_visible()


def drop(page: Page, files: dict[str, str]) -> None:
    """Drop files, each of a type, where references go."""
    page.locator(".drop").first.evaluate(
        "(on, { files, png }) => { const dataTransfer = new DataTransfer();"
        " const bytes = Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0));"
        " for (const [name, type] of Object.entries(files))"
        "   dataTransfer.items.add(new File([bytes], name, { type }));"
        " on.dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true })); }",
        {"files": files, "png": b64encode(SQUARE).decode()},
    )
