// The AI SDK and openai-node before a proxy that cuts each first answer: what they repeat by themselves.
import { createOpenAI } from '@ai-sdk/openai';
import { generateImage } from 'ai';
import OpenAI from 'openai';

const [base, apiKey] = process.argv.slice(2);
const ours = { baseURL: `${base}/v1`, apiKey };
const openai = new OpenAI(ours);
const model = createOpenAI(ours).imageModel('gpt-image-1');
const counted = await Promise.allSettled(
  Array.from({ length: 10 }, () => openai.images.generate({ model: 'gpt-image-1', prompt: 'one of ten' })),
);
const uncounted = await Promise.allSettled(
  Array.from({ length: 5 }, (_, n) => generateImage({ model, prompt: `one of five, ${n}` })),
);
console.log(JSON.stringify({
  counted: counted.map((each) => each.value?.data[0].job_id ?? String(each.reason)),
  uncounted: uncounted.map((each) => (each.value ? 'made' : String(each.reason))),
}));
