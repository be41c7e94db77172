// A process with a simulated Ascend device: makes the layers it is sent, runs them once, and sends back what came.
import { devices, MoELayer } from '../../dist/index.js';

async function answer({ ask, options, hidden }) {
  if (ask === 'devices') return devices().find(({ name }) => name === 'ascend');
  const layer = await MoELayer.create(options);
  try {
    const { output, routing, expertLoad, droppedChoices, capacity, auxLoss, zLoss } =
      await layer.forward(hidden, { routing: true });
    const losses = { auxLoss, zLoss };
    return {
      device: layer.device,
      output,
      routing,
      expertLoad,
      droppedChoices,
      capacity,
      ...losses,
    };
  } finally {
    await layer.close();
  }
}

process.on('message', async ({ id, ...question }) => {
  const failed = ({ code, message }) => ({ code, message });
  process.send({ id, reply: await answer(question).catch(failed) });
});
