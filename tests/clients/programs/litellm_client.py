"""LiteLLM over its providers `openai/` and `aiml/`: only the base URL and the key are ours."""

import base64
import io
import json
import sys

import litellm

BASE, KEY = sys.argv[1:]
MODEL = "bytedance/seedream-5-0-lite-preview"
told = {}
made = litellm.image_generation(
    model="openai/gpt-image-1", prompt="a red bicycle", size="1024x1024", n=2,
    api_base=f"{BASE}/v1", api_key=KEY,
)  # fmt: skip
told["openai"] = [base64.b64decode(each.b64_json)[:3].hex() for each in made.data]
made = litellm.image_generation(
    model=f"aiml/{MODEL}", prompt="a blue bicycle", size="2048x2048", n=2, response_format="url",
    api_base=BASE, api_key=KEY,
)  # fmt: skip
told["aiml"] = [each.url for each in made.data]
made = litellm.image_generation(
    model=f"aiml/{MODEL}",
    prompt="a green one",
    response_format="b64_json",
    api_base=BASE,
    api_key=KEY,
)
told["aiml_b64"] = [base64.b64decode(each.b64_json)[:3].hex() for each in made.data]
made = litellm.image_edit(
    model="openai/gpt-image-1", prompt="the same at night", api_base=f"{BASE}/v1", api_key=KEY,
    image=[io.BytesIO(base64.b64decode(made.data[0].b64_json))],
)  # fmt: skip
told["edit"] = [base64.b64decode(each.b64_json)[:3].hex() for each in made.data]
told["errors"] = {}
for provider, base in (("openai", f"{BASE}/v1"), ("aiml", BASE)):
    try:
        litellm.image_generation(
            model=f"{provider}/{MODEL}",
            prompt="bad [sim: moderation_400]",
            api_base=base,
            api_key=KEY,
        )
    except litellm.exceptions.APIError as error:
        told["errors"][provider] = [type(error).__name__, error.status_code]
    except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
        told["errors"][provider] = [type(error).__name__, getattr(error, "status_code", str(error))]
print(json.dumps(told))
