//! The models by name.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    model::{Model, ModelError},
    request::{GenerateRequest, ModelName},
};

/// The names that callers can request, and the default. All that a front end knows of models.
#[derive(Clone, Debug)]
pub struct ModelNames {
    default: ModelName,
    all: Vec<ModelName>,
    here: Catalogue,
}

impl ModelNames {
    /// `default` and `others`. A repeated name counts once.
    pub fn new(default: ModelName, others: impl IntoIterator<Item = ModelName>) -> Self {
        let mut all: Vec<_> = std::iter::once(default.clone()).chain(others).collect();
        all.sort();
        all.dedup();
        Self { default, all, here: Catalogue::default() }
    }

    /// Models that also run in this process check their requests before they are accepted.
    #[must_use]
    pub fn checked_by(mut self, here: Catalogue) -> Self {
        self.here = here;
        self
    }

    /// Rejects a request that its model can never answer, if the model runs in this process.
    ///
    /// # Errors
    /// As [`Model::check`].
    pub async fn check(&self, request: &GenerateRequest) -> Result<(), ModelError> {
        match self.here.get(&request.model) {
            Some(model) => model.check(request).await,
            None => Ok(()),
        }
    }

    /// The model for requests that name none.
    pub fn default_name(&self) -> &ModelName {
        &self.default
    }

    /// Whether the catalogue has this model.
    pub fn contains(&self, name: &ModelName) -> bool {
        self.all.contains(name)
    }

    /// Every name, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &ModelName> {
        self.all.iter()
    }
}

/// The models that this process can run. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    models: Arc<BTreeMap<ModelName, Arc<dyn Model>>>,
}

impl Catalogue {
    /// Adds a model, or replaces the one of the same name.
    #[must_use]
    pub fn with(mut self, name: ModelName, model: Arc<dyn Model>) -> Self {
        Arc::make_mut(&mut self.models).insert(name, model);
        self
    }

    /// The model of this name.
    pub fn get(&self, name: &ModelName) -> Option<&Arc<dyn Model>> {
        self.models.get(name)
    }
}
