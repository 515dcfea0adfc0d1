// openai-node: only `baseURL` and `apiKey` are ours.
import OpenAI, { toFile } from 'openai';

const [base, apiKey] = process.argv.slice(2);
const openai = new OpenAI({ baseURL: `${base}/v1`, apiKey });
const magic = (base64) => Buffer.from(base64, 'base64').subarray(0, 3).toString('hex');

const told = {};
const one = await openai.images.generate({ model: 'gpt-image-1', prompt: 'a red bicycle', size: '1024x1024', quality: 'high' });
told.generate = [one.data.length, magic(one.data[0].b64_json), one.data[0].job_id];
const two = await openai.images.generate({ model: 'dall-e-3', prompt: 'a blue bicycle', n: 2 });
told.urls = [];
for (const { url } of two.data) {
  const image = await fetch(url, { headers: { authorization: 'Bearer another' } });
  told.urls.push([image.status, image.headers.get('content-type')]);
}
const picture = await toFile(Buffer.from(one.data[0].b64_json, 'base64'), 'bicycle.jpg', { type: 'image/jpeg' });
const edited = await openai.images.edit({ model: 'gpt-image-1', image: [picture, picture], prompt: 'the same at night' });
told.edit = [magic(edited.data[0].b64_json), edited.data[0].job_id];
told.events = [];
for await (const event of await openai.images.generate({ model: 'gpt-image-1', prompt: 'a green one', stream: true })) {
  told.events.push([event.type, magic(event.b64_json), event.size]);
}
for await (const event of await openai.images.edit({ model: 'gpt-image-1', image: picture, prompt: 'a dark one', stream: true })) {
  told.events.push([event.type, magic(event.b64_json), event.size]);
}
told.models = (await openai.models.list()).data.map((model) => model.id);
told.errors = {};
for (const [name, asked] of Object.entries({
  model: { model: 'nope', prompt: 'x' },
  size: { model: 'dall-e-3', prompt: 'x', size: '1x' },
  refused: { model: 'dall-e-3', prompt: 'bad [sim: moderation_400]' },
})) {
  await openai.images.generate(asked).catch((error) => {
    told.errors[name] = [error.constructor.name, error.status, error.code, error.param];
  });
}
console.log(JSON.stringify(told));
