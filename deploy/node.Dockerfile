# Functions in Node: the flight and trip services of examples/trip.
FROM node:22-slim AS build
WORKDIR /src/clients/node
COPY clients/node ./
RUN npm install --ignore-scripts && npm run build && npm prune --omit=dev

FROM node:22-slim
WORKDIR /app
COPY --from=build /src/clients/node node_modules/beldi
COPY examples/trip/package.json examples/trip/*.mjs ./
USER node
ENTRYPOINT ["node"]
