"""LangChain's wrapper of images: only the base URL and the key are ours. It reads URLs alone."""

import json
import sys

from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper

wrapper = DallEAPIWrapper(base_url=f"{sys.argv[1]}/v1", api_key=sys.argv[2], model="dall-e-3", n=2)
print(json.dumps({"urls": wrapper.run("a red bicycle").split("\n")}))
