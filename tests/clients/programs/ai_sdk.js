// Vercel's AI SDK over both of its providers: only `baseURL` and `apiKey` are ours.
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateImage } from 'ai';

const [base, apiKey] = process.argv.slice(2);
const ours = { baseURL: `${base}/v1`, apiKey };
const providers = { openai: createOpenAI(ours), compatible: createOpenAICompatible({ name: 'darkroom', ...ours }) };
const magic = (image) => Buffer.from(image.uint8Array).subarray(0, 3).toString('hex');

const told = {};
for (const [name, provider] of Object.entries(providers)) {
  const model = provider.imageModel('gpt-image-1');
  const made = await generateImage({ model, prompt: `a bicycle by ${name}`, n: 2, size: '1024x1024' });
  const edited = await generateImage({ model, prompt: { text: 'the same at night', images: [made.images[0].uint8Array] } });
  const failed = await generateImage({ model, prompt: 'bad [sim: moderation_400]' }).catch((error) => error);
  told[name] = { images: made.images.map(magic), edited: magic(edited.image), failed: [failed.name, failed.statusCode, failed.message] };
}
console.log(JSON.stringify(told));
